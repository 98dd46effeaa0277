"""Classification with labels: top-1, top-5, precision, recall, F1, AUC, confusion matrix. All in points, 0..100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.metrics.figure import Figure, points
from edgekit.data.metrics.intervals import bootstrap, paired_proportions

__all__ = ["as_scores", "classify", "confusion_matrix", "confusions", "label_figures"]

_Labels = NDArray[np.int64]
_Scores = NDArray[np.float64]


def label_figures(reference: NDArray[Any], answer: NDArray[Any], labels: _Labels, *, seed: int) -> list[Figure]:
    """The figures of a classifier, top-1 first.

    Args:
        reference, answer: the float model's and the artifact's scores, (n, C), or (n,) or (n, 1) for two classes.
        labels: (n,).
        seed: of the bootstrap behind the intervals of the macro averages.
    """
    before, after = as_scores(reference), as_scores(answer)
    n, classes = before.shape
    figures = [_share("top1", classify(reference) == labels, classify(answer, like=reference) == labels)]
    if classes > 5:
        figures.append(_share("top5", _in_top(before, labels, 5), _in_top(after, labels, 5)))
    predicted = classify(reference), classify(answer, like=reference)
    values = [_macro(confusion_matrix(labels, p, classes)) for p in predicted]
    for index, name in enumerate(("precision", "recall", "f1")):

        def drop(rows: NDArray[np.int64], index: int = index) -> float:
            pair = [_macro(confusion_matrix(labels[rows], p[rows], classes))[index] for p in predicted]
            return pair[0] - pair[1]

        interval = points(bootstrap(drop, n, seed=seed))
        figures.append(Figure(name, "points", n, 100 * values[1][index], 100 * values[0][index], interval))
    figures.append(Figure("auc", "points", n, 100 * _auc(after, labels), 100 * _auc(before, labels)))
    return figures


def confusions(
    answers: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]], targets: Mapping[str, NDArray[Any]]
) -> dict[str, list[list[int]]]:
    """The artifact's confusion matrix of each output that has class labels: row = truth, column = predicted class.

    Args:
        answers, reference: the artifact's and the float model's scores, (n, C), or (n,) or (n, 1), an output name.
        targets: labels (n,) or values (n, …), an output name.
    """
    return {
        name: confusion_matrix(
            labels, classify(answers[name], like=reference[name]), as_scores(reference[name]).shape[1]
        ).tolist()
        for name, labels in targets.items()
        if labels.dtype.kind == "i"
    }


def as_scores(output: NDArray[Any]) -> _Scores:
    """An output as (n, C) scores; a single score s becomes the two columns (−s, s)."""
    scores: _Scores = output.reshape(len(output), -1).astype(np.float64)
    return np.hstack([-scores, scores]) if scores.shape[1] == 1 else scores


def classify(output: NDArray[Any], *, like: NDArray[Any] | None = None) -> _Labels:
    """The predicted class of each sample.

    A single score is a probability, cut at ½, where every value of `like` (the float model's output; by default the
    output itself) lies in 0..1; else a logit, cut at 0.
    """
    scores = output.reshape(len(output), -1)
    if scores.shape[1] > 1:
        return np.asarray(scores.argmax(axis=1), np.int64)
    guide = output if like is None else like
    probability = bool((guide >= 0).all() and (guide <= 1).all())
    return np.asarray(scores[:, 0] > (0.5 if probability else 0.0), np.int64)


def confusion_matrix(labels: _Labels, predicted: _Labels, classes: int) -> NDArray[np.int64]:
    """Counts (C, C): rows are true classes, columns predicted ones."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _share(name: str, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Figure:
    interval = points(paired_proportions(before, after))
    return Figure(name, "points", len(before), 100 * float(after.mean()), 100 * float(before.mean()), interval)


def _in_top(scores: _Scores, labels: _Labels, k: int) -> NDArray[np.bool_]:
    """Whether fewer than k classes score above the true one, or as high and before it."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1) < k)


def _macro(matrix: NDArray[np.int64]) -> tuple[float, float, float]:
    """Precision, recall and F1, averaged over the classes that occur or are predicted; 0 where undefined."""
    right, true, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    seen = (true + predicted) > 0
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    return float(precision[seen].mean()), float(recall[seen].mean()), float(f1[seen].mean())


def _auc(scores: _Scores, labels: _Labels) -> float:
    """Area under the ROC curve, one class against the rest, averaged over the classes that occur (Mann and Whitney)."""
    present = [c for c in np.unique(labels) if np.any(labels != c)]
    return float(np.mean([_area(scores[:, c], labels == c) for c in present])) if present else 0.5


def _area(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    ranks = (last_rank - (counts - 1) / 2)[inverse]
    hits, misses = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))
