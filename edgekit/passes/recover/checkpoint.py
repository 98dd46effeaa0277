"""A checkpoint: all that a killed run needs to go on, in one file that is whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Checkpoint", "read", "write"]

_FILE = "checkpoint"
_ABOUT = "about"


@dataclass
class Checkpoint:
    """The state of a run.

    Attributes:
        key: digest of everything that decides the run; another run's checkpoint is none.
        about: what is known besides arrays, as JSON.
        arrays: weights, statistics and slots, by name.
    """

    key: str
    about: dict[str, Any]
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)


def write(folder: Path, state: Checkpoint) -> None:
    """Put `state` in the place of the one before. A kill at any moment leaves one of the two.

    Raises:
        OSError: the disk is full; the one before is still there.
    """
    stream = io.BytesIO()
    about = np.frombuffer(json.dumps({"key": state.key, **state.about}).encode(), np.uint8)
    np.savez(stream, **{_ABOUT: about, **{f"a/{name}": array for name, array in state.arrays.items()}})  # type: ignore[arg-type]
    content = stream.getvalue()
    temporary = folder / f"{_FILE}.part"
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(folder / _FILE)


def read(folder: Path, key: str) -> Checkpoint | None:
    """The checkpoint of the run `key`, or None where there is none, another run's, or a damaged one."""
    try:
        raw = (folder / _FILE).read_bytes()
    except OSError:
        return None
    digest, content = raw[:32], raw[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        about = json.loads(stored[_ABOUT].tobytes())
        arrays = {name[2:]: stored[name] for name in stored.files if name != _ABOUT}
    found = about.pop("key")
    return Checkpoint(found, about, arrays) if found == key else None
