"""Mixed precision: an int8 network with as few layers in float as it takes to keep the accuracy.

The layers are lifted in the order of what their int8 alone costs, the worst first. How many it takes is found by
doubling and bisection; then each that turns out not to be needed goes back. Every trial is a compiled artifact that
answered the selection split on its runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edgekit.core import events
from edgekit.core.errors import BrokenPromiseError, UnsupportedOpError
from edgekit.core.types import Precision, QuantPlan
from edgekit.pipeline.findings import Trial
from edgekit.pipeline.sensitivity import sensitivity
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import inside_accuracy

__all__ = ["attempt_mixed", "fewest", "float_of", "mix", "without_needless"]

# How many lifts are tried to be without; each costs a compilation.
_MOST_RETURNS = 8

Lifted = tuple[str, ...]


def attempt_mixed(target: TargetJob, floating: Trial | None = None) -> Trial | None:
    """The plan that passes the accuracy gate with the fewest layers in float, or where a clock speaks the fastest.

    None where none passes that has a layer in int8.

    Args:
        target: what is compiled, and for what.
        floating: the network in float, where that misses the gate itself: its answers then count as the original's.
    """
    job = target.job
    samples, targets = job.judging
    costs = sensitivity(job.store, target.model, calibration=job.calibration, samples=samples, targets=targets)
    ranking = [cost.layer for cost in costs if cost.op != "Input"]

    def holds(lifted: Lifted) -> bool:
        try:
            metrics = target.glance(mix(target, lifted), floating)
        except (BrokenPromiseError, UnsupportedOpError) as error:
            events.warn(f"{target.target.name}: {len(lifted)} layers can't be lifted together: {error.cause}")
            return False
        return inside_accuracy(metrics, job.recipe.gates.max_drop)

    enough = fewest(ranking, holds)
    if enough is None:
        return None
    needed = without_needless(enough, holds)
    # A float layer amid int8 ones costs two conversions: fewer of them may take longer.
    weighed = dict.fromkeys((needed, enough) if target.speaks else (needed,))
    trials = [target.attempt(mix(target, lifted)) for lifted in weighed]
    return min(trials, key=lambda trial: trial.times.artifact.ratio or 0.0)


def fewest(ranking: Sequence[str], holds: Callable[[Lifted], bool]) -> Lifted | None:
    """The shortest beginning of `ranking` that holds, if more layers hold where fewer do; never all of it.

    Takes at most about 2 · log2 of its length trials; None where nothing holds.
    """
    low, high = 0, 1  # `low` layers do not hold
    while high < len(ranking) and not holds(tuple(ranking[:high])):
        low, high = high, min(2 * high, max(len(ranking) - 1, high + 1))
    if high >= len(ranking):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if holds(tuple(ranking[:middle])):
            high = middle
        else:
            low = middle
    return tuple(ranking[:high])


def without_needless(lifted: Lifted, holds: Callable[[Lifted], bool]) -> Lifted:
    """`lifted` without layers that it holds without; the least blamed go first, and the last is needed."""
    for layer in list(reversed(lifted[:-1]))[:_MOST_RETURNS]:
        fewer = tuple(each for each in lifted if each != layer)
        if holds(fewer):
            lifted = fewer
    return lifted


def mix(target: TargetJob, lifted: Iterable[str]) -> QuantPlan:
    """int8, but for what is lifted."""
    floating = float_of(target)
    return QuantPlan(Precision.INT8, tuple((layer, floating) for layer in lifted))


def float_of(target: TargetJob) -> Precision:
    """What a lifted layer gets: weights of 16 bits where the back end has them; it computes in float32 anyway."""
    return Precision.FP16 if Precision.FP16 in target.backend.precisions else Precision.FP32
