"""Imports randomly damaged copies of a model file, each in a fork, and prints what came of them. Run as a script.

Usage: mutations.py MODEL FOLDER COUNT
"""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import signal
import sys
from pathlib import Path

from edgekit.core.errors import EdgekitError
from edgekit.formats.importer import import_model

MEMORY = 4 << 30
SECONDS = 20


def main(model: Path, folder: Path, count: int) -> None:
    rng = random.Random(0)
    whole = model.read_bytes()
    # The sound file first: what it loads, the forks have.
    import_model(str(model), str(folder))
    outcomes: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path = folder / f"mutated{model.suffix}"
        path.write_bytes(content)
        outcomes[attempt(path)] += 1
    sys.stdout.write(json.dumps(outcomes))


def attempt(path: Path) -> str:
    """What importing `path` ends in: "imported", an error's class, or how the process died."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.alarm(SECONDS)
        os.write(writer, outcome(path).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reader) as stream:
        said = stream.read()
    return said or f"died with signal {os.waitstatus_to_exitcode(status)}"


def outcome(path: Path) -> str:
    try:
        import_model(str(path), str(path.parent))
    except EdgekitError as error:
        return type(error).__name__
    except Exception as error:  # noqa: BLE001 - what the test must never see
        return f"unhandled {type(error).__name__}: {error}"[:500]
    return "imported"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
