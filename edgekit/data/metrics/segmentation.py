"""Segmentation: intersection over union of the classes' areas, against label maps or against the float model's own.

A label map has the class of each pixel; 255 is a pixel that doesn't count. All in points, 0..100. Intervals come from a
bootstrap over images in which the pixels of each image are counted only once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.label_maps import IGNORED
from edgekit.data.metrics.figure import Figure
from edgekit.data.metrics.intervals import bootstrap

__all__ = ["label_maps", "mask_agreement_figures", "segmentation_figures"]

# Of the float model's own classes those with fewer pixels than this share tell nothing.
_RARE = 1e-3
_Counts = NDArray[np.int64]


def label_maps(output: NDArray[Any], axis: int, *, like: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """The class of each pixel, (n, H, W).

    A single score a pixel is a probability, cut at ½, where every value of `like` (the float model's output; by default
    the output itself) lies in 0..1; else a logit, cut at 0.

    Args:
        output: scores, (n, H, W, C) or (n, C, H, W), at most 255 classes.
        axis: where the classes are.
        like: see above.
    """
    if output.shape[axis] > 1:
        return np.asarray(output.argmax(axis=axis), np.uint8)
    guide = output if like is None else like
    probability = bool((guide >= 0).all() and (guide <= 1).all())
    return np.asarray(output.take(0, axis=axis) > (0.5 if probability else 0.0), np.uint8)


def segmentation_figures(
    before: NDArray[np.uint8], after: NDArray[np.uint8], truth: NDArray[np.uint8], *, seed: int
) -> list[Figure]:
    """mIoU, which is gated, over the classes that occur in the truth, and the share of right pixels.

    Args:
        before, after: the float model's and the artifact's label maps, (n, H, W).
        truth: (n, H, W); 255 does not count.
        seed: of the bootstrap.
    """
    n, classes = len(truth), int(max(before.max(), after.max(), truth[truth != IGNORED].max(initial=0))) + 1
    pair = _areas(before, truth, classes), _areas(after, truth, classes)
    seen = pair[0][1].sum(axis=0) > 0
    figures = []
    for name, score in (("miou", _mean_iou), ("pixel_accuracy", _pixels)):

        def drop(rows: NDArray[np.int64], score: Any = score) -> float:
            return float(score(pair[0], rows, seen) - score(pair[1], rows, seen))

        everything = np.arange(n)
        values = [score(areas, everything, seen) for areas in pair]
        figures.append(Figure(name, "points", n, values[1], values[0], bootstrap(drop, n, seed=seed)))
    return figures


def mask_agreement_figures(before: NDArray[np.uint8], after: NDArray[np.uint8], *, seed: int) -> list[Figure]:
    """The artifact's maps against the float model's own: mIoU, which is gated, and the share of equal pixels.

    Args:
        before, after: label maps, (n, H, W).
        seed: of the bootstrap.
    """
    n, areas = len(before), _areas(after, before, int(max(before.max(), after.max())) + 1)
    share = areas[1].sum(axis=0) / before.size
    seen = share >= min(_RARE, share.max())
    return [
        Figure(
            name,
            "points",
            n,
            score(areas, np.arange(n), seen),
            None,
            bootstrap(lambda rows, score=score: score(areas, rows, seen), n, seed=seed),  # type: ignore[misc]
        )
        for name, score in (("mask_agreement", _mean_iou), ("pixel_agreement", _pixels))
    ]


def _areas(maps: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> tuple[_Counts, _Counts, _Counts]:
    """Pixels of each class in each image, (n, classes): where both say it, the truth's, the prediction's."""
    counts = np.zeros((3, len(maps), classes), np.int64)
    for index, (predicted, true) in enumerate(zip(maps, truth, strict=True)):
        counted = true != IGNORED
        both = counted & (predicted == true)
        for row, labels in enumerate((true[both], true[counted], predicted[counted])):
            counts[row, index] = np.bincount(labels, minlength=classes)
    return counts[0], counts[1], counts[2]


def _mean_iou(areas: tuple[_Counts, _Counts, _Counts], rows: NDArray[np.int64], seen: NDArray[np.bool_]) -> float:
    """In points; a class that none of these images has or is given is left out."""
    both, true, predicted = (area[rows].sum(axis=0)[seen] for area in areas)
    union = true + predicted - both
    return 100 * float(np.mean(both[union > 0] / union[union > 0])) if union.any() else 100.0


def _pixels(areas: tuple[_Counts, _Counts, _Counts], rows: NDArray[np.int64], _: NDArray[np.bool_]) -> float:
    total = areas[1][rows].sum()
    return 100 * float(areas[0][rows].sum() / total) if total else 100.0
