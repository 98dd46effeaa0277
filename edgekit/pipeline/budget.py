"""A budget of size or time, spent on accuracy: as many layers of an int8 network in float as it leaves room for.

All begin in float. Those that save the most for the least harm go to int8 first, each with what follows it up to the
next one that multiplies; bisection finds how many. Every trial is a compiled artifact: its bytes count, or its time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.backends.promise import MULTIPLYING
from edgekit.core import events
from edgekit.core.errors import BrokenPromiseError, UnsupportedOpError
from edgekit.core.evidence import Gate
from edgekit.core.sensitivity import LayerCost
from edgekit.core.types import Precision, QuantPlan
from edgekit.pipeline.findings import Trial
from edgekit.pipeline.mixed import fewest, float_of, mix
from edgekit.pipeline.op_times import layer_us
from edgekit.pipeline.sensitivity import sensitivity_of
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import Evidence, inside_accuracy, over_budget

__all__ = ["has_budget", "int8_order", "within_budget"]


def has_budget(target: TargetJob) -> bool:
    """Whether a size was asked for, or a time that a clock can tell."""
    return target.job.recipe.gates.max_size_bytes is not None or _is_timed(target)


def within_budget(target: TargetJob, wanted: Sequence[Trial]) -> Trial:
    """The first of some plans that is inside the budget, with all the layers in float that the rest of it takes.

    Where none is inside, that is said, and the first one stays as it is.

    Args:
        target: with a budget.
        wanted: int8, with layers in float or not.
    """
    start = next((trial for trial in wanted if not _over(target, trial)), None)
    if start is None:
        over = [
            f"{_number(each.value)} where --{each.name} is {_number(each.limit)}" for each in _over(target, wanted[-1])
        ]
        events.warn(f"{target.target.name}: even {wanted[-1].precision} is outside the budget: {', '.join(over)}")
        return wanted[0]
    if _fits(target, QuantPlan(float_of(target))):
        return start  # a budget that holds in float takes nothing from anybody
    needed = tuple(layer for layer, _ in start.plan.layers)
    groups = {group[0]: group for group in _order(target) if not set(needed).issuperset(group)}

    def plan(integers: Sequence[str]) -> QuantPlan:
        floating = (layer for head, group in reversed(groups.items()) if head not in integers for layer in group)
        return mix(target, dict.fromkeys((*needed, *floating)))

    enough = fewest(list(groups), lambda integers: _fits(target, plan(integers)))
    if enough is None:
        return start
    spent, limit = target.attempt(plan(enough)), target.job.recipe.gates.max_drop
    return spent if inside_accuracy(spent.selection, limit) or not inside_accuracy(start.selection, limit) else start


def int8_order(costs: Sequence[LayerCost], saved: Mapping[str, float]) -> list[tuple[str, ...]]:
    """The layers in the order in which they go to int8: by what that saves for each unit of noise that it brings.

    Args:
        costs: in the order in which the layers run.
        saved: by int8, of each layer that multiplies. One that saves nothing comes last.

    Returns:
        Each such layer, with those behind it that save nothing of their own and would only convert back and forth.
    """
    groups: list[list[LayerCost]] = []
    for cost in costs:
        if cost.op in MULTIPLYING or not groups:
            groups.append([])
        groups[-1].append(cost)

    def harm(group: list[LayerCost]) -> tuple[float, float]:
        noise, saving = sum(10 ** (-cost.sqnr_db / 10) for cost in group), saved.get(group[0].layer, 0.0)
        return (noise / saving if saving > 0 else math.inf, noise)

    return [tuple(cost.layer for cost in group) for group in sorted(groups, key=harm)]


def _order(target: TargetJob) -> list[tuple[str, ...]]:
    job, gates = target.job, target.job.recipe.gates
    samples, targets = job.judging if "selection" in job.data.splits else (job.calibration, None)
    found = sensitivity_of(job.store, target.model, calibration=job.calibration, samples=samples, targets=targets)
    shares: list[dict[str, float]] = []
    if gates.max_size_bytes is not None:
        shares.append({ranges.layer: float(ranges.params) for ranges in found.ranges})
    if _is_timed(target):
        before, after = (layer_us(target, found, QuantPlan(each)) for each in (Precision.FP32, Precision.INT8))
        saved = {layer: us - after.get(layer, 0.0) for layer, us in before.items()}
        # A runtime without a profile, or with one that is too coarse for these layers.
        estimate = {ranges.layer: float(ranges.macs) for ranges in found.ranges}
        shares.append(saved if any(saved.values()) else estimate)
    wholes = [sum(map(abs, share.values())) or 1.0 for share in shares]
    costs = [cost for cost in found.layers if cost.op != "Input"]
    total = {
        cost.layer: sum(share.get(cost.layer, 0.0) / whole for share, whole in zip(shares, wholes, strict=True))
        for cost in costs
    }
    return int8_order(costs, total)


def _is_timed(target: TargetJob) -> bool:
    gates = target.job.recipe.gates
    return target.speaks and (gates.max_latency_ms is not None or gates.min_speedup is not None)


def _fits(target: TargetJob, plan: QuantPlan) -> bool:
    try:
        if over_budget(target.job.recipe.gates, Evidence(size_bytes=target.artifact(plan).size)):
            return False
        if _is_timed(target):
            return not _over(target, target.attempt(plan))
        target.glance(plan)
    except (BrokenPromiseError, UnsupportedOpError) as error:
        events.warn(f"{target.target.name}: {len(plan.layers)} layers can't be lifted together: {error.cause}")
        return False
    return True


def _over(target: TargetJob, trial: Trial) -> list[Gate]:
    """The gates of the budget that a trial does not pass."""
    evidence = Evidence(size_bytes=trial.artifact.size)
    if target.speaks:
        timed = trial.times.artifact
        evidence = replace(
            evidence,
            ratio=1.0 if timed.ratio is None else timed.ratio,  # the float artifact is its own baseline
            p90_ms=timed.timing.p90_ms if timed.timing else None,
            kind=timed.kind,
            invalid=timed.invalid,
        )
    return over_budget(target.job.recipe.gates, evidence)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
