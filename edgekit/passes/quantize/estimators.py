"""Which range of an activation int8 covers: all of it, or less, so that what is left has finer steps.

- `min-max`: all that was seen.
- `percentile`: all but one number in ten thousand on either side, as Wu et al. (Integer Quantization for Deep Learning
  Inference, arXiv:2004.09602) found to suit most networks.
- `mse`: the range with the least expected squared error, of rounding within it and of cutting off beyond it.
- `entropy`: that which keeps most of the distribution, by its Kullback-Leibler divergence (Migacz, 8-bit Inference with
  TensorRT, GTC 2017).

All but the first know what a softmax makes of a number that is far below the largest one beside it: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgekit.core.repair import RangeMethod
from edgekit.ir.model import Model
from edgekit.passes.quantize.histogram import Histogram
from edgekit.passes.quantize.ranges import Range, contents

__all__ = ["choose_range", "estimate_ranges", "squared_error"]

_LEFT_OUT = 1e-4
_STEPS = 255
# Ranges that are weighed: shares of the whole one, sixteen an octave, to 1/1024.
_SHARES = tuple(2.0 ** (-step / 16) for step in range(161))
# Places within a step whose numbers the divergence tells apart.
_FINE = 4
# So far below another number, what a softmax makes of one is less than float32 can add to 1.
_BELOW = 16.0


def estimate_ranges(model: Model, samples: Mapping[str, np.ndarray[Any, Any]], method: RangeMethod) -> dict[str, Range]:
    """The range that int8 is to cover of each float value, by its name: of the inputs and of whatever a node computes.

    Args:
        model: a float network; it is not changed.
        samples: one array an input name, samples first, as `edgekit.ir.run.run` takes them.
        method: how the range is chosen.

    Raises:
        InvalidInputError: an input has no samples, or a value is infinite or undefined.
    """
    axes = {} if method == "min-max" else _logits(model)
    floors: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}
    for name, content in contents(model, samples):
        seen = Histogram.of(content)
        histograms[name] = histograms[name].joined(seen) if name in histograms else seen
        if name in axes:
            least = float(content.max(axis=axes[name]).min())
            floors[name] = min(floors.get(name, least), least)
    ranges = {name: choose_range(each, method) for name, each in histograms.items()}
    for name, floor in floors.items():
        ranges[name] = Range(max(ranges[name].low, min(floor - _BELOW, 0.0)), ranges[name].high)
    return ranges


def _logits(model: Model) -> dict[str, int]:
    """The values that nothing but a softmax reads, by name, each with the axis of the softmax."""
    found = {}
    for node in model.graph:
        value = node.inputs[0] if node.op_type == "Softmax" else None
        if value is not None and not value.is_graph_output() and len(value.uses()) == 1:
            found[str(value.name)] = node.attributes.get_int("axis", -1)
    return found


def choose_range(histogram: Histogram, method: RangeMethod) -> Range:
    """The range that int8 is to cover: within what was seen, and never without 0."""
    low, high = min(histogram.values.low, 0.0), max(histogram.values.high, 0.0)
    if method == "min-max" or low == high:
        return Range(low, high)
    if method == "percentile":
        return Range(
            max(min(histogram.quantile(_LEFT_OUT), 0.0), low), min(max(histogram.quantile(1 - _LEFT_OUT), 0.0), high)
        )
    error: Callable[[Histogram, Range], float] = squared_error if method == "mse" else _divergence
    # Both sides together first: an outlier on one side hides from the other what its own numbers would gain.
    found = _best(histogram, error, [Range(low * share, high * share) for share in _SHARES])
    found = _best(histogram, error, [Range(low * share, found.high) for share in _SHARES]) if low else found
    return _best(histogram, error, [Range(found.low, high * share) for share in _SHARES]) if high else found


def squared_error(histogram: Histogram, covered: Range) -> float:
    """The mean squared error of numbers that int8 stores over the range `covered`."""
    lows, highs = histogram.edges
    middles, widths = (lows + highs) / 2, highs - lows
    step = (covered.high - covered.low) / _STEPS
    beyond = middles - np.clip(middles, covered.low, covered.high)
    rounded = middles - np.rint(middles / step) * step
    # In a bin that is wider than a step, numbers lie anywhere between two integers.
    within = np.where(widths < step, rounded**2, step**2 / 12)
    return float(histogram.masses @ np.where(beyond != 0, beyond**2, within))


def _divergence(histogram: Histogram, covered: Range) -> float:
    """How far the distribution is from what steps over the range `covered` can tell of it."""
    places = np.linspace(covered.low, covered.high, (_STEPS + 1) * _FINE + 1)
    below = histogram.share_below(places)
    inside = np.diff(below)
    if not inside.any():
        return float("inf")
    fine = inside.copy()
    fine[0] += below[0]
    fine[-1] += 1 - below[-1]
    steps, taken = inside.reshape(-1, _FINE), (inside > 0).reshape(-1, _FINE)
    shared = steps.sum(1, keepdims=True) / np.maximum(taken.sum(1, keepdims=True), 1)
    told = np.where(taken, shared, 0).ravel() / inside.sum()
    seen = fine > 0
    return float(np.sum(fine[seen] * np.log(fine[seen] / np.maximum(told[seen], 1e-12))))


def _best(histogram: Histogram, error: Callable[[Histogram, Range], float], ranges: list[Range]) -> Range:
    """The range with the least error, the first of equals."""
    return min((each for each in ranges if each.low < each.high), key=lambda each: error(histogram, each))
