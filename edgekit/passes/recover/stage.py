"""The recovery stage: what the pipeline calls in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.plain import to_json
from edgekit.ir.model import Model
from edgekit.ir.quantization import forget_quant_params
from edgekit.passes.recover.recovery import recover_model as train
from edgekit.passes.recover.recovery import repeatable
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import RecoverSettings

__all__ = ["recover_model"]


def recover_model(
    source: str,
    out: str,
    settings: RecoverSettings,
    *,
    teacher: str,
    training: str,
    selection: str,
    targets: str | None,
    workdir: str,
) -> dict[str, Any]:
    """Train the Model in the file `source`, and write it as `model.onnx` to the folder `out`.

    Args:
        source: path of the Model to train.
        out: an existing folder.
        settings: how.
        teacher: path of the original Model.
        training: a folder of samples that `Samples.open` reads, or an .npz of samples without labels by input name.
        selection: an .npz of selection samples by input name.
        targets: an .npz of their labels by output name, or None.
        workdir: an existing folder, where a training that was killed is gone on with.

    Returns:
        `curve`: a LearningCurve as JSON.

    Raises:
        InvalidInputError: the samples can't train this.
        UnsupportedOpError: a network can't be lowered to TensorFlow.
        UsageError: the disk is full.
    """
    repeatable()
    student, original = Model.load(Path(source)), Model.load(Path(teacher))
    forget_quant_params(student)  # the ranges of a source that is quantized are those of other weights
    samples = Samples.open(Path(training)) if Path(training).is_dir() else Samples(_arrays(training))
    samples = Samples(samples.inputs, _taught(original, samples.targets), samples.affine)
    chosen = Samples(_arrays(selection), _taught(original, _arrays(targets) if targets else {}))
    model, curve = train(student, original, samples, chosen, settings=settings, workdir=Path(workdir))
    model.save(Path(out, "model.onnx"))
    return {"curve": to_json(curve)}


def _taught(model: Model, targets: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The targets of outputs; true boxes, which are for several outputs at once, only judge."""
    outputs = {spec.name for spec in model.outputs}
    return {name: array for name, array in targets.items() if name in outputs}


def _arrays(path: str) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
