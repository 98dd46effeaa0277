"""What data can't train, said before any training: one clear error each."""

from __future__ import annotations

import math
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
        _check_input(samples.inputs[spec.name], spec, f"{role}: the input {spec.name!r}")
    counts = {len(samples.inputs[spec.name]) for spec in model.inputs}
    if len(counts) > 1:
        raise _bad(
            f"{role}: the inputs have different numbers of samples: {', '.join(map(str, sorted(counts)))}",
            "Give each input one row a sample.",
        )
    if len(samples) < _FEWEST:
        raise _bad(
            f"there {'is' if len(samples) == 1 else 'are'} {len(samples)} {role} "
            f"sample{'' if len(samples) == 1 else 's'}: nothing can be learnt from that",
            "Give some hundred samples of each class, or build without --recover.",
        )
    outputs = {spec.name: spec for spec in model.outputs}
    unknown = samples.targets.keys() - outputs
    if unknown:
        raise _bad(
            f"{role}: the model has no output {min(unknown)!r}",
            f"Name the targets as its outputs: {', '.join(outputs)}.",
        )
    for head in found:
        targets = samples.targets.get(head.output)
        if targets is not None:
            _check_targets(targets, outputs[head.output], head, len(samples), f"{role}: the targets of {head.output!r}")


def _check_input(array: Array, spec: TensorSpec, name: str) -> None:
    if array.shape[1:] != spec.sample_shape or not array.ndim:
        raise _bad(
            f"{name} takes samples of shape {spec.sample_shape}, not {array.shape[1:]}",
            "Give one sample a row; of a sequence, one step with the states that it begins with.",
        )
    if array.dtype.kind not in "fiub":
        raise _bad(f"{name} holds no numbers but {array.dtype}", "Give numbers.")
    _check_numbers(array, f"{name} holds")


def _check_targets(targets: Array, spec: TensorSpec, head: Head, count: int, name: str) -> None:
    if len(targets) != count:
        raise _bad(f"{name} are {len(targets)} for {count} samples", "Give one target a sample.")
    if targets.dtype.kind not in "fiu":
        raise _bad(f"{name} are {targets.dtype}", "Give classes as int64, or values as float32.")
    classes = (spec.shape[head.axis] or 1) if head.kind == "softmax" else 2
    size = math.prod(spec.sample_shape)
    are_classes = targets.dtype.kind in "iu" and head.kind != "values"
    if math.prod(targets.shape[1:]) != (size // classes if are_classes and head.kind == "softmax" else size):
        raise _bad(
            f"{name} are {targets.dtype} of shape {targets.shape[1:]} a sample, the output is of {spec.sample_shape}",
            "Give whole numbers as classes, or floats in the shape of the output.",
        )
    if are_classes:
        _check_classes(targets, classes, name)
    elif targets.dtype.kind != "f":
        raise _bad(f"{name} are {targets.dtype}, where the output has values", "Give them as float32.")
    else:
        _check_numbers(targets, f"{name} hold")


def _check_classes(targets: Array, classes: int, name: str) -> None:
    counted = targets[targets != _IGNORED] if targets.dtype == np.uint8 else targets
    if not counted.size:
        raise _bad(f"{name} are all {_IGNORED}, which does not count", "Add samples with labels that count.")
    low, high = int(counted.min()), int(counted.max())
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


def _check_numbers(array: Array, holds: str) -> None:
    if array.dtype.kind != "f":
        return
    for begin in range(0, len(array), _CHUNK):
        part = np.isfinite(array[begin : begin + _CHUNK]).reshape(len(array[begin : begin + _CHUNK]), -1).all(1)
        if not part.all():
            row = begin + int(np.flatnonzero(~part)[0])
            raise _bad(f"{holds} NaN or infinity, first in row {row}", "Remove or repair that row.")


def _bad(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your data", remedy=remedy)
