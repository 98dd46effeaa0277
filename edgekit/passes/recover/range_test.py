"""The learning rate by a short range test, after Smith (WACV 2017, arXiv:1506.01186).

His rises from step to step, and the rate is read off the curve of losses. A pruned network fools that: its loss falls
so fast that the least of it comes long after the best rate. So each rate of a ladder gets a short training of its own,
from the same weights on the same batches, that ends at rate 0 as the real one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from edgekit.core import events
from edgekit.core.stopping import check_stopped
from edgekit.passes.recover.feeding import Batch, Feed
from edgekit.passes.recover.settings import Optimizer
from edgekit.passes.recover.trainer import Trainer

__all__ = ["Found", "find_learning_rate", "try_rates"]

_JUDGED = 0.25  # of a trial, its last steps
_LADDER = (3e-4, 1e-3, 3e-3, 1e-2)
# What a rate of Adam's is to the others.
_TIMES = {Optimizer.SGD: 30.0, Optimizer.RMSPROP: 0.1}
_UNUSED = 1 << 30  # numbers of epochs that no training reaches


class Found(NamedTuple):
    """What the test tells: the learning rate, and the seconds that a step takes."""

    rate: float
    seconds: float


def try_rates(trainer: Trainer, feed: Feed, optimizer: Optimizer, steps: int) -> Found:
    """Train `steps` with each of some rates, on batches that the training does not see; then everything is as before.

    In int8 the network begins where it should end: the rates are a third then.
    """
    weights, slots = trainer.weights(), trainer.slots()
    times: list[float] = []

    def trial(rates: list[float]) -> list[float]:
        check_stopped()
        events.progress("looking for a learning rate", 0.0)
        losses = []
        for rate, (inputs, targets, taught) in zip(rates, _batches(feed, steps), strict=True):
            losses.append(float(trainer.step(inputs, targets, taught, rate)))
            times.append(time.monotonic())
        trainer.set_weights(weights)
        trainer.set_slots(slots)
        return losses

    rate = find_learning_rate(optimizer, trial, steps, times=0.3 if trainer.fake else 1.0)
    return Found(rate, float(np.median(np.diff(times))))


def _batches(feed: Feed, steps: int) -> Iterator[Batch]:
    left, number = steps, _UNUSED
    while left:
        part = min(left, feed.steps)
        yield from feed.epoch(number, part)
        left, number = left - part, number + 1


def find_learning_rate(
    optimizer: Optimizer, trial: Callable[[list[float]], list[float]], steps: int, *, times: float = 1.0
) -> float:
    """The rate whose trial ends with the least loss; the search ends where a higher one is worse.

    Args:
        optimizer: decides which rates are tried.
        trial: trains with these rates, step by step, from the weights of now, and gives the losses.
        steps: of each trial.
        times: what the rates are to the usual ones.
    """
    least, best = np.inf, 0.0
    ladder = [times * _TIMES.get(optimizer, 1.0) * each for each in _LADDER]
    for rate in ladder:
        losses = trial([rate * (1 - step / steps) for step in range(steps)])
        loss = float(np.mean(losses[-math.ceil(_JUDGED * steps) :]))
        if not loss < least:
            break
        least, best = loss, rate
    return best or ladder[0]
