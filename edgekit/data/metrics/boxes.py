"""Boxes: their overlap, the choice of the best ones, and which found box belongs to which true one.

A box is (x1, y1, x2, y2) in any unit; found boxes of an image are rows (x1, y1, x2, y2, score, class), the best first;
true ones rows (x1, y1, x2, y2, class).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Found", "from_centres", "hits", "non_maximum_suppression", "overlaps"]

Found = Sequence[NDArray[Any]]

# More candidates than this are never among the boxes kept, but cost their square.
_CANDIDATES = 400


def overlaps(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of each box (m, 4) with each box (k, 4): (m, k). An empty box overlaps with nothing."""
    a, b = first[:, None, :4].astype(np.float64), second[None, :, :4].astype(np.float64)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    shared = sides.prod(axis=-1)
    union = _areas(a) + _areas(b) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _areas(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.clip(boxes[..., 2:4] - boxes[..., :2], 0, None).prod(axis=-1))


def from_centres(boxes: NDArray[Any]) -> NDArray[Any]:
    """Boxes (…, 4) given as (centre x, centre y, width, height) as corners."""
    half = boxes[..., 2:4] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def non_maximum_suppression(
    boxes: NDArray[Any], scores: NDArray[Any], *, min_score: float = 0.01, iou: float = 0.5, keep: int = 100
) -> list[NDArray[np.float64]]:
    """The best boxes of each image, without those that overlap with a better one of their class.

    Args:
        boxes: (n, anchors, 4), corners.
        scores: (n, anchors, classes), without a background class.
        min_score: worse ones are dropped.
        iou: two boxes of a class that overlap more are one object.
        keep: at most so many an image.

    Returns:
        For each image rows (x1, y1, x2, y2, score, class), the best first.
    """
    return [_best(b, s, min_score, iou, keep) for b, s in zip(boxes, scores, strict=True)]


def _best(boxes: NDArray[Any], scores: NDArray[Any], min_score: float, iou: float, keep: int) -> NDArray[np.float64]:
    anchors, classes = np.nonzero(scores >= min_score)
    found = np.column_stack([boxes[anchors], scores[anchors, classes], classes]).astype(np.float64)
    found = found[np.argsort(-found[:, 4], kind="stable")[:_CANDIDATES]]
    rivals = (overlaps(found, found) > iou) & (found[:, None, 5] == found[None, :, 5])
    alive, kept = np.ones(len(found), bool), []
    for index in range(len(found)):
        if alive[index]:
            kept.append(index)
            alive &= ~rivals[index]
        if len(kept) == keep:
            break
    return np.asarray(found[kept])


def hits(found: NDArray[Any], truth: NDArray[Any], thresholds: NDArray[Any]) -> NDArray[np.bool_]:
    """Which found boxes of an image are right, at each least overlap: (thresholds, m).

    From the best to the worst, each takes the true box of its class that it overlaps most and that is still free, as
    COCO's evaluation does.

    Args:
        found: (m, 6), the best first.
        truth: (k, 5).
        thresholds: least overlaps, (t,).
    """
    right = np.zeros((len(thresholds), len(found)), bool)
    if not len(truth):
        return right
    shared = overlaps(found, truth) * (found[:, None, 5] == truth[None, :, 4])
    free, rows = np.ones((len(thresholds), len(truth)), bool), np.arange(len(thresholds))
    for index, overlap in enumerate(shared):
        candidates = np.where(free, overlap, -1.0)
        best = candidates.argmax(axis=1)
        right[:, index] = candidates[rows, best] >= thresholds
        free[rows[right[:, index]], best[right[:, index]]] = False
    return right
