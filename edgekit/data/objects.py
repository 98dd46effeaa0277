"""True boxes: what a detector should find in each image. They belong to no single output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.spec import bad_data

__all__ = ["OBJECTS", "as_objects"]

# Their name among the targets; the data calls them y_objects.
OBJECTS = "objects"
_MOST_CLASSES = 1 << 16


def as_objects(values: NDArray[Any], *, count: int, name: str) -> NDArray[np.float32]:
    """True boxes (n, m, 5): x1, y1, x2, y2, class; class −1 fills up.

    Raises:
        InvalidInputError: another shape, no numbers, NaN, no object at all, or a box that ends before it begins.
    """
    rule = "Give (n, most objects an image, 5): x1, y1, x2, y2, class; class -1 fills up images with fewer."
    if values.dtype.kind not in "biuf" or values.ndim != 3 or values.shape[2:] != (5,) or len(values) != count:
        raise bad_data(f"{name} has shape {values.shape} of {values.dtype} for {count} samples", rule)
    boxes = values.astype(np.float32)
    real = boxes[..., 4] != -1
    fine = np.isfinite(boxes).all(axis=2) & (boxes[..., 4] == np.floor(boxes[..., 4])) & (boxes[..., 4] >= 0)
    fine &= boxes[..., 4] < _MOST_CLASSES
    fine &= (boxes[..., 2:4] >= boxes[..., :2]).all(axis=2)
    bad = np.flatnonzero((real & ~fine).any(axis=1))
    if len(bad):
        raise bad_data(
            f"{name}: row {bad[0]} has NaN, a class below -1 or above {_MOST_CLASSES - 1}, or a box that ends before it"
            " begins",
            rule,
        )
    if not real.any():
        raise bad_data(f"{name} holds no object", "Add images with objects in them.")
    boxes[~real] = (0, 0, 0, 0, -1)
    return boxes
