"""The stage that trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.core.machine import cpu_features
from edgekit.core.process import Limits
from edgekit.passes.recover.settings import RecoverSettings
from edgekit.pipeline import child
from edgekit.pipeline.stages.models import ONNX_TOOLS, SourceModel, source_model, tool_versions
from edgekit.pipeline.store import Store

__all__ = ["Lesson", "recover"]

_TRAINING_TOOLS = ("tensorflow", "keras", *ONNX_TOOLS)
_LONGEST_TRAINING = 7 * 24 * 3600.0  # seconds


@dataclass(frozen=True)
class Lesson:
    """What a training learns from, and what its epochs are compared on.

    Attributes:
        training: a folder that `edgekit.passes.recover.samples` reads, or an .npz of samples without labels.
        selection: an .npz of samples, and `targets` one of their labels, if there are any.
        digests: of all of it.
    """

    training: Path
    selection: Path
    targets: Path | None
    digests: tuple[str, ...]


def recover(
    store: Store, model: SourceModel, teacher: SourceModel, lesson: Lesson, settings: RecoverSettings, *, threads: int
) -> SourceModel:
    """Train a smaller model, or one in int8, until it is as good as it was; a killed training goes on where it was.

    Args:
        model: what to train.
        teacher: the original.
        lesson: what is learnt from.
        settings: how.
        threads: that may work. Their count and the kind of CPU decide the last bits.
    """
    inputs = {
        "model": model.digest,
        "teacher": teacher.digest,
        "lesson": lesson.digests,
        "settings": settings,
        "machine": [threads, sorted(cpu_features())],
        "tools": tool_versions(_TRAINING_TOOLS),
    }

    title, doing = "recover the accuracy", "recovering the accuracy"
    if settings.integers is not None:
        title, doing = "train in int8", "training in int8"

    def work(folder: Path, workdir: Path) -> Any:
        return child.call(
            "edgekit.pipeline.native:recover_model",
            {
                "source": str(model.path),
                "out": str(folder),
                "teacher": str(teacher.path),
                "training": lesson.training,
                "selection": lesson.selection,
                "targets": lesson.targets,
                "settings": settings,
                "workdir": str(workdir),
            },
            what=doing,
            blame="your model and data",
            limits=Limits(seconds=_LONGEST_TRAINING),
            threads=threads,
        )

    entry = store.make_resumable("recover", title, inputs, work)
    fixed = replace(settings, epochs=entry.value["curve"]["planned"], max_seconds=None)
    if fixed != settings:
        # What the lock asks for from now on.
        store.make("recover", "", {**inputs, "settings": fixed}, entry.copy, quiet=True)
    return replace(source_model(entry), states=model.states)
