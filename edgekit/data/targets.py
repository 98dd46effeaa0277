"""Targets: labels and values from the user's data, held against the model's outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import TensorSpec
from edgekit.data.label_maps import as_label_maps, resize_hint
from edgekit.data.objects import OBJECTS, as_objects
from edgekit.data.spec import NO_LABELS, bad_data

__all__ = ["as_targets", "class_count", "classifier", "from_keys"]


def class_count(spec: TensorSpec) -> int | None:
    """How many classes the output `spec` can tell apart (a single score tells two), or None where it is no vector."""
    sizes = [size for size in spec.with_batch(1)[1:] if size != 1]
    return None if len(sizes) > 1 else max(2, *sizes) if sizes else 2


def classifier(outputs: Sequence[TensorSpec], classes: int) -> TensorSpec | None:
    """The output that class labels belong to: the first whose vector has room for `classes`, or else any vector."""
    vectors = [(spec, count) for spec in outputs if (count := class_count(spec)) is not None]
    return next((spec for spec, count in vectors if count >= classes), vectors[0][0] if vectors else None)


def from_keys(
    arrays: Mapping[str, NDArray[Any]], outputs: Sequence[TensorSpec], *, count: int, name: str
) -> dict[str, NDArray[Any]]:
    """The targets among named arrays: `y` for the first output that fits it, `y_<output>` for a named one.

    `y_objects` are true boxes, for whichever outputs make boxes.

    Raises:
        InvalidInputError: a target that no output can have.
    """
    by_output = {f"y_{spec.name}": spec for spec in outputs}
    targets = {
        spec.name: as_targets(arrays[key], spec, count=count, name=f"{name}, {key}")
        for key, spec in by_output.items()
        if key in arrays
    }
    if f"y_{OBJECTS}" in arrays and OBJECTS not in targets:
        targets[OBJECTS] = as_objects(arrays[f"y_{OBJECTS}"], count=count, name=f"{name}, y_{OBJECTS}")
    if "y" in arrays and not targets:
        spec = _output_of(arrays["y"], outputs)
        targets[spec.name] = as_targets(arrays["y"], spec, count=count, name=f"{name}, y")
    return targets


def as_targets(values: NDArray[Any], spec: TensorSpec, *, count: int, name: str) -> NDArray[Any]:
    """`values` as int64 class labels (n,), uint8 label maps (n, H, W) or float32 values in the output's shape (n, …).

    Class labels are whole numbers, one a sample, or one-hot rows. A single-score output takes 0 and 1 as classes,
    other numbers as values. Label maps are whole numbers, one a pixel of an output (n, H, W, classes) or
    (n, classes, H, W), or one-hot; 255 is a pixel that does not count, and one score a pixel tells 0 from 1.

    Raises:
        InvalidInputError: wrong length or shape, NaN, or a label beyond the output's classes.
    """
    if values.dtype.kind not in "biuf":
        raise bad_data(f"{name} holds {values.dtype} instead of numbers", "Store labels as integers, values as floats.")
    if len(values) != count:
        raise bad_data(f"{name} has {len(values)} entries for {count} samples", "Give one target for each sample.")
    bad = np.flatnonzero(~np.isfinite(values.reshape(count, -1)).all(axis=1))
    if len(bad):
        raise bad_data(f"{name} holds NaN or infinity, first in row {bad[0]}", "Remove or repair that row.")
    labels = _labels(values, spec)
    if labels is not None:
        _check_labels(labels, spec, name)
        return labels
    maps = as_label_maps(values, spec, name)
    if maps is not None:
        return maps
    wanted = spec.with_batch(1)[1:]
    if values[0].size != math.prod(wanted):
        raise bad_data(
            f"{name} has shape {values.shape}; the output {spec.name!r} wants (n, {', '.join(map(str, wanted))}), "
            f"or one class label a sample",
            f"{resize_hint(values, spec)}Reshape it, or name its output with the key y_<output>. {NO_LABELS}",
        )
    return values.reshape(count, *wanted).astype(np.float32)


def _labels(values: NDArray[Any], spec: TensorSpec) -> NDArray[np.int64] | None:
    """Class labels where `values` are such."""
    classes = class_count(spec)
    if classes is None:
        return None
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        column = flat[:, 0]
        whole = bool((column == np.floor(column)).all())
        single_score = math.prod(spec.with_batch(1)[1:]) == 1
        if whole and (not single_score or bool(np.isin(column, (0, 1)).all())):
            return np.asarray(column, np.int64)
    elif flat.shape[1] == classes and np.isin(flat, (0, 1)).all() and (flat.sum(axis=1) == 1).all():
        return np.asarray(flat.argmax(axis=1), np.int64)
    return None


def _check_labels(labels: NDArray[np.int64], spec: TensorSpec, name: str) -> None:
    classes = class_count(spec) or 0
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        row = int(np.flatnonzero((labels < 0) | (labels >= classes))[0])
        raise bad_data(
            f"{name} has the label {labels[row]} in row {row}, the model's output {spec.name!r} tells {classes} "
            f"classes (0..{classes - 1})",
            f"Number the classes from 0, or use the data that belongs to this model. {NO_LABELS}",
        )
    if low == high and len(labels) > 1:
        raise bad_data(
            f"{name}: all {len(labels)} samples are of class {low}; no metric tells a good model from a constant one",
            f"Add samples of the other classes. Or: {NO_LABELS}",
        )


def _output_of(values: NDArray[Any], outputs: Sequence[TensorSpec]) -> TensorSpec:
    """The output that an unnamed target is for."""
    size = values.reshape(len(values), -1).shape[1] if len(values) else 1
    same = next((spec for spec in outputs if size > 1 and math.prod(spec.with_batch(1)[1:]) == size), None)
    return same or classifier(outputs, 2) or outputs[0]
