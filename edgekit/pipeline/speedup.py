"""Pruning to a speed-up: predicted from what the layers take, measured on the whole network, and corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgekit.core import events
from edgekit.core.errors import BrokenPromiseError, InvalidInputError, UnsupportedOpError
from edgekit.core.types import Precision, QuantPlan
from edgekit.passes.prune.request import LayerTimes, Pruning
from edgekit.pipeline.choose import candidates
from edgekit.pipeline.layer_times import layer_times
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import SPEEDUP_TOLERANCE

__all__ = ["meet_speedup"]

# How near to what was asked for is near enough to stop, as a share of it; the gate leaves room for the clock's noise.
_NEAR = SPEEDUP_TOLERANCE - 0.01
# How often a network is pruned and measured.
_TRIES = 4


@dataclass(frozen=True)
class _Attempt:
    """A network that was pruned until its layers should take `share` of the dense time, and takes `ratio` of it."""

    share: float
    ratio: float
    job: TargetJob


def meet_speedup(
    target: TargetJob, pruning: Pruning, speedup: float, prune: Callable[[Pruning], TargetJob]
) -> TargetJob:
    """The job whose pruned network is `speedup` times as fast as the unpruned one in the same precision.

    That is measured in the precision that is tried first; where it can't be made, in the next one.

    Args:
        target: the unpruned job.
        pruning: how to prune, all but how much.
        speedup: what was asked for, more than 1.
        prune: makes the pruned job.

    Raises:
        InvalidInputError: the layers can't get that fast; says what stays.
    """
    # What is mixed is int8 but for a few layers.
    *others, last = dict.fromkeys(Precision.INT8 if each is Precision.MIXED else each for each in candidates(target))
    for precision in others:
        try:
            return _met(target, precision, pruning, speedup, prune)
        except (BrokenPromiseError, UnsupportedOpError) as error:
            events.warn(f"{target.target.name}: no speed-up can be measured in {precision}: {error.cause}")
    return _met(target, last, pruning, speedup, prune)


def _met(
    target: TargetJob, precision: Precision, pruning: Pruning, speedup: float, prune: Callable[[Pruning], TargetJob]
) -> TargetJob:
    times, attempts = layer_times(target, precision), list[_Attempt]()
    while len(attempts) < _TRIES and not any(_is_met(each, speedup) for each in attempts):
        share = _next_share(attempts, 1 / speedup)
        try:
            attempt = _attempt(precision, pruning, times, share, prune)
        except InvalidInputError:
            if not attempts:
                raise
            break  # the correction asks for more than there is
        if any(attempt.job.pruning == each.job.pruning for each in attempts):
            break  # nothing lies between the sizes that channels come in
        attempts.append(attempt)
    fast = [each for each in attempts if each.ratio * speedup <= 1 + _NEAR]
    best = max(fast, key=lambda each: each.ratio) if fast else min(attempts, key=lambda each: each.ratio)
    if not _is_met(best, speedup):
        events.warn(
            f"{target.target.name}: {speedup:g}× the speed was asked for, and the nearest that channels in multiples of"
            f" {pruning.multiple} give is {1 / best.ratio:.2f}×"
        )
    return best.job


def _attempt(
    precision: Precision, pruning: Pruning, times: LayerTimes, share: float, prune: Callable[[Pruning], TargetJob]
) -> _Attempt:
    job = prune(replace(pruning, times=times, share=share))
    ratio = job.attempt(QuantPlan(precision)).times.dense_ratio
    assert ratio is not None
    assert job.pruning is not None
    with events.stage(f"{1 / ratio:.2f}× the speed, {job.pruning.predicted:.2f}× predicted"):
        pass
    return _Attempt(share, ratio, job)


def _is_met(attempt: _Attempt, speedup: float) -> bool:
    return abs(attempt.ratio * speedup - 1) <= _NEAR


def _next_share(attempts: Sequence[_Attempt], wanted: float) -> float:
    """Which share of the time to ask for, so that `wanted` of it is measured: in proportion, then by the secant."""
    if not attempts:
        return wanted
    last = attempts[-1]
    share = last.share * wanted / last.ratio
    if len(attempts) > 1:
        before = attempts[-2]
        if (last.ratio - before.ratio) * (last.share - before.share) > 0:
            share = last.share + (wanted - last.ratio) * (last.share - before.share) / (last.ratio - before.ratio)
    return min(max(share, last.share / 2), (1 + last.share) / 2)
