"""Label maps: the class of each pixel, held against an output that scores the classes of each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import Layout, TensorSpec
from edgekit.data.spec import NO_LABELS, bad_data

__all__ = ["IGNORED", "as_label_maps", "class_axis", "resize_hint"]

# A pixel that does not count.
IGNORED = 255


def class_axis(spec: TensorSpec, maps: tuple[int, ...]) -> int:
    """Where the output `spec` has its classes, beside label maps of the shape (n, H, W)."""
    return next(iter(_class_axes(spec, maps)))


def _class_axes(spec: TensorSpec, shape: tuple[int, ...]) -> list[int]:
    """The axes of `spec` that may be the classes' where arrays of `shape` are label maps; its layout goes first."""
    sizes = spec.with_batch(1)[1:]
    if len(sizes) != 3 or len(shape) != 3:
        return []
    fitting = [axis for axis in (3, 1) if (*sizes[: axis - 1], *sizes[axis:]) == shape[1:]]
    return sorted(fitting, key=lambda axis: (axis == 1) is not (spec.layout is Layout.NCHW))


def as_label_maps(values: NDArray[Any], spec: TensorSpec, name: str) -> NDArray[np.uint8] | None:
    """`values` as label maps (n, H, W) where they are such, or None.

    Args:
        values: finite numbers, one a pixel, or one-hot along the output's class axis.
        spec: the output.
        name: what they are called, for messages.

    Raises:
        InvalidInputError: a label beyond the output's classes, or one class only.
    """
    sizes = spec.with_batch(1)[1:]
    if len(sizes) != 3 or not bool((values == np.floor(values)).all()):
        return None
    one_hot = [
        axis for axis in (3, 1) if values.shape[1:] == sizes and sizes[axis - 1] > 1 and _is_one_hot(values, axis)
    ]
    if one_hot:
        return _checked_maps(values.argmax(axis=one_hot[0]), sizes[one_hot[0] - 1], spec, name)
    alone = [axis for axis in (3, 1) if values.ndim == 4 and values.shape[axis] == 1]
    maps = values.take(0, axis=alone[0]) if alone else values
    axes = _class_axes(spec, maps.shape)
    if not axes:
        return None
    classes = max(2, sizes[axes[0] - 1])
    if sizes[axes[0] - 1] == 1 and not np.isin(maps, (0, 1, IGNORED)).all():
        return None
    return _checked_maps(maps, classes, spec, name)


def _is_one_hot(values: NDArray[Any], axis: int) -> bool:
    return bool(np.isin(values, (0, 1)).all() and (values.sum(axis=axis) == 1).all())


def _checked_maps(maps: NDArray[Any], classes: int, spec: TensorSpec, name: str) -> NDArray[np.uint8]:
    if classes > IGNORED:
        raise bad_data(
            f"{name}: label maps tell at most {IGNORED} classes apart, the output {spec.name!r} has {classes}",
            f"Judge it by a metric of your own (--metric). {NO_LABELS}",
        )
    wrong = (maps != IGNORED) & ((maps < 0) | (maps >= classes))
    if wrong.any():
        row = int(np.flatnonzero(wrong.reshape(len(maps), -1).any(axis=1))[0])
        raise bad_data(
            f"{name} has the label {int(maps[row][wrong[row]][0])} in row {row}, the model's output {spec.name!r} tells"
            f" {classes} classes a pixel (0..{classes - 1}; {IGNORED} does not count)",
            f"Number the classes from 0, and give pixels that don't count {IGNORED}. {NO_LABELS}",
        )
    seen = np.unique(maps[maps != IGNORED])
    if len(seen) < 2:
        raise bad_data(
            f"{name}: all pixels are of class {int(seen[0])}" if len(seen) else f"{name}: no pixel counts",
            f"Add images of other classes. {NO_LABELS}",
        )
    return np.asarray(maps, np.uint8)


def resize_hint(values: NDArray[Any], spec: TensorSpec) -> str:
    """For label maps of another size than the output's: how to make them fit."""
    sizes = spec.with_batch(1)[1:]
    if len(sizes) != 3 or values.ndim != 3 or values.dtype.kind == "f":
        return ""
    size = sizes[1:] if spec.layout is Layout.NCHW else sizes[:2]
    return f"Label maps must have the output's size {size}: scale them to their nearest neighbours. "
