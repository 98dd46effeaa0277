"""For a metric of your own: `edgekit build … --metric my_metric:name`. See docs/metrics.md.

Here are the parts to build one from, and decoders for detectors whose outputs have a customary form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.metrics.boxes import Found, from_centres, non_maximum_suppression, overlaps
from edgekit.data.metrics.decoders import decoder
from edgekit.data.metrics.detection import mean_average_precision

__all__ = [
    "decoder", "from_centres", "from_offsets", "mean_average_precision", "non_maximum_suppression", "overlaps",
    "ssd_anchors", "yolo",
]  # fmt: skip


@decoder
def yolo(outputs: Mapping[str, NDArray[Any]]) -> Found:
    """The boxes of a YOLO that is exported without its own suppression, with one output.

    (n, anchors, 5 + classes) is centre, size, objectness, classes (YOLOv5, v7); (n, 4 + classes, anchors) is centre,
    size, classes (YOLOv8 and later). Scores are probabilities.

    Raises:
        ValueError: another number of outputs, or another shape.
    """
    if len(outputs) != 1 or (rows := next(iter(outputs.values()))).ndim != 3:
        shapes = {name: values.shape for name, values in outputs.items()}
        raise ValueError(f"one output of three axes is due, not {shapes}")
    if rows.shape[1] < rows.shape[2]:
        rows = rows.transpose(0, 2, 1)
        scores = rows[..., 4:]
    else:
        scores = rows[..., 4:5] * rows[..., 5:]
    return non_maximum_suppression(from_centres(rows[..., :4]), scores)


def ssd_anchors(
    size: tuple[int, int], strides: Sequence[int], boxes: Sequence[Sequence[tuple[float, float]]]
) -> NDArray[np.float64]:
    """The anchors of an SSD: on each cell of each grid a few boxes, row by row, grid by grid.

    Args:
        size: height and width of the image in pixels.
        strides: of each grid, in pixels.
        boxes: for each grid the (width, height) of a cell's boxes, in pixels.

    Returns:
        (anchors, 4): centre and size, in 0..1.
    """
    height, width = size
    found = []
    for stride, kinds in zip(strides, boxes, strict=True):
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        for row in range(rows):
            for column in range(columns):
                centre = (column + 0.5) * stride / width, (row + 0.5) * stride / height
                found += [(*centre, w / width, h / height) for w, h in kinds]
    return np.asarray(np.clip(found, 0, 1), np.float64)


def from_offsets(
    offsets: NDArray[Any], anchors: NDArray[Any], *, variances: tuple[float, float] = (0.1, 0.2)
) -> NDArray[Any]:
    """Corners of boxes that are given as offsets from anchors (Liu et al. 2016, "SSD", equation 2).

    Args:
        offsets: (n, anchors, 4).
        anchors: (anchors, 4): centre and size.
        variances: what the offsets of the centre and of the logarithm of the size were divided by in training.
    """
    centre = offsets[..., :2] * variances[0] * anchors[:, 2:] + anchors[:, :2]
    return from_centres(np.concatenate([centre, np.exp(offsets[..., 2:] * variances[1]) * anchors[:, 2:]], axis=-1))
