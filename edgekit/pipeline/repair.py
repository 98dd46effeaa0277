"""Which repair goes before int8: that whose artifact does best on the selection split, and none where none is needed.

What the back end's own quantizer makes is tried first. Where it is near to float, it stays. Otherwise comes everything
at once that is known to help, and then other ranges, as long as the accuracy gate does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from edgekit.backends.base import IntegerBackend
from edgekit.core import events
from edgekit.core.errors import BrokenPromiseError, InvalidInputError, UnsupportedOpError
from edgekit.core.repair import PLAIN, RangeMethod, Repair
from edgekit.core.types import Metric, Precision, QuantPlan
from edgekit.pipeline.choose import candidates, inputs_of
from edgekit.pipeline.lock import Lock, RepairChoice
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import inside_accuracy

__all__ = ["repaired", "repairs"]

_RANGES: tuple[RangeMethod, ...] = ("mse", "percentile", "entropy", "min-max")
_LADDER = (PLAIN, *(Repair(ranges, "adaptive", bias_correction=True) for ranges in _RANGES))
# Answers so near to float's, in dB, that a repair would be for nothing.
_NEAR = 35.0
_INT8 = QuantPlan(Precision.INT8)


def repaired(target: TargetJob, lock: Lock) -> TargetJob:
    """The job with the repair that its int8 gets; as it is where int8 is not at stake.

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated.
    """
    wanted = list(repairs(target))
    if len(wanted) < 2:
        return replace(target, repair=wanted[0]) if wanted else target
    name, inputs = target.target.name, inputs_of(target)
    remembered = lock.repairs.get(name)
    if remembered is None or remembered.inputs != inputs:
        lock.repairs[name] = remembered = _chosen(target, wanted, inputs)
    return replace(target, repair=remembered.repair)


def repairs(target: TargetJob) -> Iterator[Repair]:
    """What may be done, in the order of trying, as far as the recipe leaves it open; nothing without int8.

    What a quantized source rounded has its scales already; noise in the place of data shows no ranges; and zeros and
    shared values are not to be rounded away.
    """
    asked, job = target.job.recipe.precision, target.job
    source = job.original.quantized is not None and target.model is job.fused
    if asked.precision not in {"auto", Precision.MIXED, Precision.INT8} or source:
        return
    if Precision.INT8 not in target.backend.precisions or target.int8_form is not None:
        return
    if asked.precision == "auto" and Precision.INT8 not in candidates(target):
        return
    said: dict[str, Any] = {
        "ranges": None if asked.ranges == "auto" else asked.ranges,
        "rounding": None if asked.rounding == "auto" else asked.rounding,
        "bias_correction": asked.bias_correction,
    }
    if target.thinned is not None:
        said["rounding"] = "nearest"
    fixed = {key: value for key, value in said.items() if value is not None}
    plain_only = job.data.synthetic or not isinstance(target.backend, IntegerBackend)
    ladder = _LADDER[:1] if plain_only else _LADDER
    yield from dict.fromkeys(replace(each, **fixed) for each in ladder)


def _chosen(target: TargetJob, wanted: Sequence[Repair], inputs: str) -> RepairChoice:
    limit = target.job.recipe.gates.max_drop
    tried: list[dict[str, Any]] = []
    best: tuple[tuple[bool, float], Repair] | None = None
    for repair in wanted:
        try:
            metrics = replace(target, repair=repair).glance(_INT8)
        except (BrokenPromiseError, InvalidInputError, UnsupportedOpError) as error:
            if repair == PLAIN and not isinstance(error, BrokenPromiseError):
                break  # the choice of precision meets the same error, and says so
            # What the back end's own quantizer leaves in float, ours may not.
            events.warn(f"{target.target.name}: {repair} is out: {error.cause}")
            continue
        inside, near = inside_accuracy(metrics, limit), _nearness(metrics)
        tried.append(
            {"repair": str(repair), "accurate": inside, "drop": metrics[0].drop if metrics else None, "sqnr": near}
        )
        if best is None or (inside, near) > best[0]:
            best = (inside, near), repair
        if inside and (near >= _NEAR or repair != wanted[0]):
            break
    return RepairChoice(inputs, best[1] if best else wanted[0], tuple(tried))


def _nearness(metrics: Sequence[Metric]) -> float:
    """How near the answers are to float's, in dB, of the worst output."""
    return min((m.artifact for m in metrics if m.unit == "dB" and "over_constant" not in m.name), default=0.0)
