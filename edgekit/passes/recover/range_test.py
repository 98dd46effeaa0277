"""The learning rate by a short range test, after Smith (WACV 2017, arXiv:1506.01186).

His rises from step to step, and the rate is read off the curve of losses. A pruned network fools that: its loss falls
so fast that the least of it comes long after the best rate. So each rate of a ladder gets a short training of its own,
from the same weights on the same batches, that ends at rate 0 as the real one does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.passes.recover.settings import Optimizer

__all__ = ["STEPS", "find_learning_rate"]

STEPS = 40
_JUDGED = 10  # the last steps of a trial
_LADDER = (3e-4, 1e-3, 3e-3, 1e-2)
# What a rate of Adam's is to the others.
_TIMES = {Optimizer.SGD: 30.0, Optimizer.RMSPROP: 0.1}


def find_learning_rate(optimizer: Optimizer, trial: Callable[[list[float]], list[float]]) -> float:
    """A third of the rate whose trial ends with the least loss: a long training wants less than a short one.

    The search ends where a higher rate is worse.

    Args:
        optimizer: decides which rates are tried.
        trial: trains with these rates, step by step, from the weights of now, and gives the losses.
    """
    least, best = np.inf, 0.0
    for rate in (_TIMES.get(optimizer, 1.0) * each for each in _LADDER):
        losses = trial([rate * (1 - step / STEPS) for step in range(STEPS)])
        loss = float(np.mean(losses[-_JUDGED:]))
        if not loss < least:
            break
        least, best = loss, rate
    return (best or _TIMES.get(optimizer, 1.0) * _LADDER[0]) / 3
