"""A recovery as a process of its own, to be killed: it says each event, and in the end what came of it.

    python recovery_process.py FOLDER WORKDIR

FOLDER has what `prepare` put there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.plain import to_json
from edgekit.ir.model import Model
from edgekit.passes.recover.recovery import recover_model, repeatable
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import Optimizer, RecoverSettings

EPOCHS = 16


def prepare(folder: Path, student: Model, teacher: Model, train: Samples, selection: Samples) -> None:
    """Put into an existing folder what a recovery takes."""
    for model, name in ((student, "student"), (teacher, "teacher")):
        model.save(folder / f"{name}.onnx")
    for samples, name in ((train, "train"), (selection, "selection")):
        (folder / name).mkdir()
        samples.save(folder / name)


def main() -> None:
    """Recover, with everything that has a state: learning rates to find, moving averages, an optimizer with slots."""
    folder, workdir = map(Path, sys.argv[1:])
    repeatable()
    settings = RecoverSettings(epochs=EPOCHS, optimizer=Optimizer.ADAMW, augment=())
    with events.listening(lambda event: say(event=event.text)):
        say(event="begun")
        student, teacher = (Model.load(folder / f"{name}.onnx") for name in ("student", "teacher"))
        train, selection = (Samples.open(folder / name) for name in ("train", "selection"))
        model, curve = recover_model(student, teacher, train, selection, settings=settings, workdir=workdir)
    say(digest=model.digest, curve=to_json(curve))


def say(**what: Any) -> None:
    """One line of JSON."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
