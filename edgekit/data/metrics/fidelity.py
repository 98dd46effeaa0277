"""Without labels: how closely an artifact follows the float model. Agreement of the classes, and SQNR.

No single figure tells a good artifact from a broken one. Plain agreement bounds the loss of accuracy, but a constant
answer reaches 98 % where the float model nearly always says the same: the worst class shows that. SQNR sees what an
argmax hides, but a constant answer can be close where the outputs hardly vary: SQNR over the best constant shows that.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.data.metrics.classification import classify
from edgekit.data.metrics.figure import Figure, points
from edgekit.data.metrics.intervals import mean_of_proportions, wilson

__all__ = ["Activation", "activation_of", "agreement_figures", "sqnr_figures"]

Activation = Literal["softmax", "sigmoid"]

# float32 carries 24 bits: a probability below that beside 1 is 0, and a ratio above that is "the same".
_EPSILON = 2.0**-24
_MAX_DB = 20 * 24 * math.log10(2)
_ROUNDING = 1e-12
_RARE = 10
_BLOCK = 256


def activation_of(output: NDArray[Any]) -> Activation | None:
    """What an output's numbers look like: shares that add up to 1, a single probability, or neither."""
    if output.shape[-1] > 1 and (output >= 0).all() and np.allclose(output.sum(axis=-1), 1, atol=1e-3):
        return "softmax"
    if output[0].size == 1 and ((output >= 0) & (output <= 1)).all():
        return "sigmoid"
    return None


def agreement_figures(reference: NDArray[Any], answer: NDArray[Any]) -> list[Figure]:
    """Agreement of the predicted classes, in points: over all samples, averaged over the classes, in the worst class.

    A class is one that the float model predicts; those that it predicts fewer than 10 times are taken as one.
    """
    truth = classify(reference)
    same = classify(answer, like=reference) == truth
    n = len(same)
    classes, counts = np.unique(truth, return_counts=True)
    groups = [same[truth == label] for label, count in zip(classes, counts, strict=True) if count >= _RARE]
    rare = same[np.isin(truth, classes[counts < _RARE])]
    groups += [rare] if len(rare) else []
    worst = min(groups, key=lambda group: float(group.mean()))
    hits, sizes = [int(group.sum()) for group in groups], [len(group) for group in groups]
    balanced = float(np.mean([group.mean() for group in groups]))
    return [
        _agreement("agreement", n, float(same.mean()), wilson(int(same.sum()), n)),
        _agreement("balanced_agreement", n, balanced, mean_of_proportions(hits, sizes)),
        _agreement("worst_class_agreement", len(worst), float(worst.mean()), wilson(int(worst.sum()), len(worst))),
    ]


def sqnr_figures(
    reference: NDArray[Any], answer: NDArray[Any], activation: str | None, resolution: float = 0.0
) -> list[Figure]:
    """Signal-to-quantization-noise ratio in dB (power of the float model's output ÷ power of the difference).

    After a softmax or sigmoid it is taken before it, on the logits that give the same probabilities (the centred
    logarithm, the log-odds), and called "logits_sqnr". The second figure says how far that is above the best constant
    answer, each output element's own mean.

    A reference that is itself rounded tells nothing of probabilities below `resolution`, half its step: they count as
    that.
    """
    n, size = len(reference), reference[0].size
    least = max(_EPSILON, resolution)
    signal = noise = 0.0
    total = np.zeros(size)
    # In blocks: a detector's outputs, in double precision, are gigabytes.
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        before, after = (_logits(output[rows], activation, least).reshape(-1, size) for output in (reference, answer))
        signal += float(np.sum(before**2))
        noise += float(np.sum((before - after) ** 2))
        total += before.sum(axis=0)
    spread = signal - float(np.sum(total**2)) / n
    constant = spread <= _ROUNDING * signal
    name = "logits_sqnr" if activation in ("softmax", "sigmoid") else "sqnr"
    return [
        Figure(name, "dB", n, _decibel(signal, noise)),
        # Where the float model itself is constant, no answer is better than a constant.
        Figure(f"{name}_over_constant", "dB", n, 0.0 if constant else _decibel(spread, noise)),
    ]


def _agreement(name: str, n: int, share: float, interval: tuple[float, float] | None) -> Figure:
    return Figure(name, "points", n, 100 * share, None, points(interval))


def _logits(output: NDArray[Any], activation: str | None, least: float) -> NDArray[np.float64]:
    values = np.asarray(output, np.float64)
    if activation == "softmax":
        logs = np.log(np.clip(values, least, 1))
        return np.asarray(logs - logs.mean(axis=-1, keepdims=True))
    if activation == "sigmoid":
        inside = np.clip(values, least, 1 - least)
        return np.asarray(np.log(inside / (1 - inside)))
    return values


def _decibel(signal: float, noise: float) -> float:
    """10 × log10 of the ratio, within what float32 can tell."""
    if noise == 0:
        return _MAX_DB
    ratio = 10 * math.log10(signal / noise) if signal > 0 else -_MAX_DB
    return max(-_MAX_DB, min(_MAX_DB, ratio))
