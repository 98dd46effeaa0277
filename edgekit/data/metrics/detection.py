"""Detection: mean average precision against true boxes, and without those how far two models find the same boxes.

All in points, 0..100. Intervals come from a bootstrap over images in which every image is matched only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.data.metrics.boxes import Found, hits, overlaps
from edgekit.data.metrics.figure import Figure
from edgekit.data.metrics.intervals import bootstrap, bootstrap_all

__all__ = ["COCO_THRESHOLDS", "box_agreement_figures", "detection_figures", "mean_average_precision"]

COCO_THRESHOLDS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())
_RECALLS = np.linspace(0, 1, 101)
_SAME = 0.5
# What a detector is sure of, and for one that is sure of little what it is surest of.
_SURE, _SUREST = 0.5, 50


def mean_average_precision(
    found: Found, objects: NDArray[np.float32], *, thresholds: Sequence[float] = COCO_THRESHOLDS
) -> float:
    """COCO's mAP: the mean over classes and overlaps of the 101-point interpolated average precision, in points.

    Args:
        found: for each image rows (x1, y1, x2, y2, score, class), the best first.
        objects: (n, most objects, 5), rows (x1, y1, x2, y2, class); class −1 fills up images with fewer objects.
        thresholds: the least intersection over union at which a found box is right; by default 0.5, 0.55, … 0.95.

    Returns:
        0..100 over the classes that occur among the objects.
    """
    return float(_matched(found, objects, thresholds).precision(np.ones(len(found))).mean())


def detection_figures(first: Found, second: Found, objects: NDArray[np.float32], *, seed: int) -> list[Figure]:
    """Mean average precision over COCO's overlaps (`map`, which is gated), and at an overlap of 0.5.

    Args:
        first, second: the float model's and the artifact's boxes, as for `mean_average_precision`.
        objects: the truth.
        seed: of the bootstrap.
    """
    n = len(objects)
    pair = _matched(first, objects, COCO_THRESHOLDS), _matched(second, objects, COCO_THRESHOLDS)

    def values(matched: _Matched, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        precision = matched.precision(np.bincount(rows, minlength=n).astype(np.float64))
        return np.array([precision.mean(), precision[0]])

    intervals = bootstrap_all(lambda rows: values(pair[0], rows) - values(pair[1], rows), n, seed=seed)
    floats, artifacts = (values(matched, np.arange(n)) for matched in pair)
    return [
        Figure(name, "points", n, float(after), float(before), interval)
        for name, after, before, interval in zip(("map", "map50"), artifacts, floats, intervals, strict=True)
    ]


def box_agreement_figures(before: Found, after: Found, *, seed: int) -> list[Figure]:
    """How far the artifact finds the float model's boxes: their F1, which is gated, its recall, the mean overlap.

    A box counts where its model scores it at least 0.5; where the float model is that sure of fewer than 50 boxes, its
    50 best ones decide how sure is sure. It is found again if the other model has a box of the same class there (an
    overlap of at least 0.5) with at least half that score: a box on the brink, which one model takes and the other just
    misses, is no disagreement.

    Args:
        before, after: the float model's and the artifact's boxes, rows (x1, y1, x2, y2, score, class), best first.
        seed: of the bootstrap.

    Returns:
        `box_agreement`, `box_recall`, `box_iou` in points, and `boxes`, how many each model is sure of.
    """
    n = len(before)
    scores = np.sort(np.concatenate([image[:, 4] for image in before]))[::-1][:_SUREST]
    sure = min(_SURE, float(scores.min(initial=_SURE)))
    kept = np.array([_found_again(a, b, sure) for a, b in zip(before, after, strict=True)]).reshape(n, 3)
    real = np.array([_found_again(b, a, sure) for a, b in zip(before, after, strict=True)]).reshape(n, 3)

    def agreement(rows: NDArray[np.int64]) -> float:
        return _share(kept[rows, 1].sum() + real[rows, 1].sum(), kept[rows, 0].sum() + real[rows, 0].sum())

    def recall(rows: NDArray[np.int64]) -> float:
        return _share(kept[rows, 1].sum(), kept[rows, 0].sum())

    everything = np.arange(n)
    return [
        Figure("box_agreement", "points", n, agreement(everything), None, bootstrap(agreement, n, seed=seed)),
        Figure("box_recall", "points", n, recall(everything), None, bootstrap(recall, n, seed=seed)),
        Figure("box_iou", "points", n, _share(kept[:, 2].sum(), kept[:, 1].sum())),
        Figure("boxes", "boxes", n, float(real[:, 0].sum()), float(kept[:, 0].sum())),
    ]


def _found_again(first: NDArray[np.float64], second: NDArray[np.float64], sure: float) -> tuple[int, int, float]:
    """Of `first`'s sure boxes: how many, how many `second` has too, and the sum of these overlaps."""
    mine, other = first[first[:, 4] >= sure], second[second[:, 4] >= sure / 2]
    if not len(mine) or not len(other):
        return len(mine), 0, 0.0
    shared = (overlaps(mine, other) * (mine[:, None, 5] == other[None, :, 5])).max(axis=1)
    same = shared >= _SAME
    return len(mine), int(same.sum()), float(shared[same].sum())


def _share(part: float, whole: float) -> float:
    """In points; of nothing everything."""
    return 100 * float(part) / float(whole) if whole else 100.0


@dataclass(frozen=True)
class _Matched:
    """The found boxes of all images by class, the best first, with what they hit.

    Attributes:
        image: of each class which image each box is in, (d,).
        right: of each class (thresholds, d).
        truths: how many objects of each class an image has, (n, classes).
    """

    image: Sequence[NDArray[np.int64]]
    right: Sequence[NDArray[np.bool_]]
    truths: NDArray[np.int64]

    def precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The average precision at each threshold in points, each image counted `weights` (n,) times."""
        objects = weights @ self.truths
        curves = [
            _precision(right, weights[image], count)
            for image, right, count in zip(self.image, self.right, objects, strict=True)
            if count
        ]
        return 100 * np.mean(curves, axis=0) if curves else np.zeros(len(self.right[0]))


def _precision(right: NDArray[np.bool_], weights: NDArray[np.float64], objects: float) -> NDArray[np.float64]:
    """The interpolated average precision of one class at each threshold, 0..1."""
    hit = np.cumsum(right * weights, axis=1)
    taken = np.maximum(np.cumsum(weights), np.finfo(float).tiny)
    # The best precision at this recall or a higher one (Everingham et al. 2010, section 4.2).
    precision = np.maximum.accumulate((hit / taken)[:, ::-1], axis=1)[:, ::-1]
    curves = zip(hit / objects, precision, strict=True)
    return np.array([np.append(best, 0.0)[np.searchsorted(recall, _RECALLS - 1e-12)].mean() for recall, best in curves])


def _matched(found: Found, objects: NDArray[np.float32], thresholds: Sequence[float]) -> _Matched:
    truths = [image[image[:, 4] >= 0] for image in objects.astype(np.float64)]
    limits = np.asarray(thresholds, np.float64)
    right = np.concatenate([hits(b, truth, limits) for b, truth in zip(found, truths, strict=True)], axis=1)
    boxes = np.concatenate([image.reshape(-1, 6) for image in found])
    image = np.repeat(np.arange(len(found)), [len(b) for b in found])
    classes = int(max(boxes[:, 5].max(initial=-1), objects[..., 4].max(initial=-1))) + 1
    # By class, then by score, the best first.
    order = np.lexsort((-boxes[:, 4], boxes[:, 5]))
    ends = np.searchsorted(boxes[order, 5], np.arange(1, classes))
    return _Matched(
        np.split(image[order], ends),
        np.split(right[:, order], ends, axis=1),
        np.array([np.bincount(truth[:, 4].astype(np.int64), minlength=classes) for truth in truths]),
    )
