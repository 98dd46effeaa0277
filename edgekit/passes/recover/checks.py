"""What data can't train, said before any training: one clear error each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import TensorSpec
from edgekit.ir.model import Model
from edgekit.passes.recover.heads import Head
from edgekit.passes.recover.samples import Array, Samples

__all__ = ["check_samples"]

_CHUNK = 1024
_IGNORED = 255
_FEWEST = 2


def check_samples(model: Model, samples: Samples, found: Sequence[Head], role: str) -> None:
    """Hold samples and targets against the model.

    Args:
        model: whose inputs and outputs they are for.
        samples: to train on, or to select by.
        found: the model's heads.
        role: "training" or "selection", for the message.

    Raises:
        InvalidInputError: too few samples, shapes that don't fit, NaN, labels out of range, one class only; a model
            whose inputs don't all count samples along their first axis.
    """
    if len({spec.shape[0] for spec in model.inputs if spec.shape}) > 1:
        shapes = ", ".join(f"{spec.name} {'×'.join(map(str, spec.shape))}" for spec in model.inputs)
        raise InvalidInputError(
            f"samples are not counted along the first axis of every input ({shapes}): that can't be trained",
            blame="your model",
            remedy="Export it with the batch first (batch_first=True), or build without --recover.",
        )
    for spec in model.inputs:
        if spec.name not in samples.inputs:
            raise _bad(f"the {role} samples lack the input {spec.name!r}", "Give an array for each input.")
        array = samples.inputs[spec.name]
        if array.shape[1:] != spec.sample_shape:
            raise _bad(
                f"{role}: the input {spec.name!r} takes samples of shape {spec.sample_shape}, not {array.shape[1:]}",
                "Give one sample a row.",
            )
        _check_numbers(array, f"{role}: the input {spec.name!r}")
    if len(samples) < _FEWEST:
        raise _bad(
            f"there {'is' if len(samples) == 1 else 'are'} {len(samples)} {role} "
            f"sample{'' if len(samples) == 1 else 's'}: nothing can be learnt from that",
            "Give some hundred samples of each class, or build without --recover.",
        )
    outputs = {spec.name: spec for spec in model.outputs}
    for head in found:
        targets = samples.targets.get(head.output)
        if targets is not None:
            _check_targets(targets, outputs[head.output], head, len(samples), role)


def _check_targets(targets: Array, spec: TensorSpec, head: Head, count: int, role: str) -> None:
    name = f"{role}: the targets of {spec.name!r}"
    if len(targets) != count:
        raise _bad(f"{name} are {len(targets)} for {count} samples", "Give one target a sample.")
    if targets.dtype.kind == "f":
        _check_numbers(targets, name)
        return
    classes = 2
    if head.kind == "softmax":
        classes = spec.shape[head.axis] or 1
    counted = targets[targets != _IGNORED] if targets.dtype == np.uint8 else targets
    low, high = (int(counted.min()), int(counted.max())) if counted.size else (0, 0)
    if low < 0 or high >= classes:
        raise _bad(
            f"{name} hold the label {low if low < 0 else high}; the model tells {classes} classes (0..{classes - 1})",
            "Number the classes from 0, or recover without labels.",
        )
    if low == high:
        raise _bad(
            f"{name} are all of class {low}: a constant answer would be right",
            "Add samples of the other classes, or recover without labels.",
        )


def _check_numbers(array: Array, name: str) -> None:
    if array.dtype.kind != "f":
        return
    for begin in range(0, len(array), _CHUNK):
        part = np.isfinite(array[begin : begin + _CHUNK]).reshape(len(array[begin : begin + _CHUNK]), -1).all(1)
        if not part.all():
            row = begin + int(np.flatnonzero(~part)[0])
            raise _bad(f"{name} holds NaN or infinity, first in row {row}", "Remove or repair that row.")


def _bad(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your data", remedy=remedy)
