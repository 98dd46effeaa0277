"""The learning rate by a short range test (Smith, WACV 2017, arXiv:1506.01186)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.passes.recover.settings import Optimizer

__all__ = ["STEPS", "find_learning_rate"]

STEPS = 60
_SMOOTHING = 0.8
_BROKEN_OFF = 4.0  # times the least loss
_BELOW = 8.0  # how far from where the loss is least

_RANGES = {Optimizer.SGD: (1e-5, 3.0), Optimizer.RMSPROP: (1e-6, 0.1)}
_OTHERS = (1e-5, 0.3)


def find_learning_rate(optimizer: Optimizer, step: Callable[[int, float], float]) -> float:
    """An eighth of the rate at which the loss is least while the rate rises from step to step.

    Args:
        optimizer: decides where the search begins and ends.
        step: makes the step of this number at this rate, and gives its loss.
    """
    low, high = _RANGES.get(optimizer, _OTHERS)
    rates = np.geomspace(low, high, STEPS)
    average, least, best = 0.0, np.inf, rates[0]
    for number, rate in enumerate(rates):
        loss = step(number, float(rate))
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smooth = average / (1 - _SMOOTHING ** (number + 1))
        if not np.isfinite(loss) or (number > STEPS // 4 and smooth > _BROKEN_OFF * least):
            break
        if smooth < least:
            least, best = smooth, rate
    return float(best / _BELOW)
