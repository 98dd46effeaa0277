"""Which repair goes before int8: that whose artifact does best on the selection split, and none where none is needed.

What the back end's own quantizer makes is tried first. Where it is near to float, it stays. Otherwise comes everything
at once that is known to help, and then other ranges, as long as the accuracy gate does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgekit.backends.base import IntegerBackend
from edgekit.core import events
from edgekit.core.errors import BrokenPromiseError, InvalidInputError, UnsupportedOpError, UsageError
from edgekit.core.evidence import Metric
from edgekit.core.recipe import PrecisionSection, Recipe
from edgekit.core.repair import PLAIN, RangeMethod, Repair
from edgekit.core.types import Precision, QuantPlan
from edgekit.pipeline.choose import candidates, inputs_of
from edgekit.pipeline.lock import Lock, RepairChoice
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import inside_accuracy

__all__ = ["refuse_repairs", "repaired", "repairs"]

_RANGES: tuple[RangeMethod, ...] = ("mse", "percentile", "entropy", "min-max")
_LADDER = (PLAIN, *(Repair(ranges, "adaptive", bias_correction=True) for ranges in _RANGES))
# Answers so near to float's, in dB, that a repair would be for nothing.
_NEAR = 35.0
_INT8 = QuantPlan(Precision.INT8)


def refuse_repairs(recipe: Recipe) -> None:
    """Refuse a repair that is asked for where it has no place, before any work.

    Raises:
        UsageError: it is.
    """
    precision, asked = recipe.precision.precision, _asked(recipe.precision)
    against = {
        f"the precision is to be {precision}": precision in {Precision.FP32, Precision.FP16, Precision.DYNAMIC},
        "without data nothing shows what helps (--no-data)": recipe.data.none,
        "--qat trains that": recipe.recover.qat,
        "sparse and clustered weights are not rounded away": "rounding" in asked
        and (recipe.shrink.sparsity or recipe.shrink.clusters),
    }
    reason = next((reason for reason, holds in against.items() if holds), "")
    if asked and reason:
        raise _no_place(asked, reason)


def repaired(target: TargetJob, lock: Lock) -> TargetJob:
    """The job with the repair that its int8 gets; as it is where there is nothing to repair.

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated.

    Raises:
        UsageError: a repair is asked for where it has no place.
    """
    wanted = repairs(target)
    if len(wanted) < 2:
        return replace(target, repair=wanted[0]) if wanted else target
    name, inputs = target.target.name, inputs_of(target)
    remembered = lock.repairs.get(name)
    if remembered is None or remembered.inputs != inputs:
        lock.repairs[name] = remembered = _chosen(target, wanted, inputs)
    return replace(target, repair=remembered.repair, repairs_tried=remembered.tried)


def repairs(target: TargetJob) -> tuple[Repair, ...]:
    """What may be done, in the order of trying, as far as the recipe leaves it open; nothing where int8 stays alone.

    Raises:
        UsageError: a repair is asked for where it has no place.
    """
    precision = target.job.recipe.precision
    if target.job.data.synthetic or target.int8_form is not None or not _makes_int8(target):
        return ()
    if reason := _left_alone(target):
        if asked := _asked(precision):
            raise _no_place(asked, reason)
        return ()
    # Zeros and shared values are not to be rounded away.
    fixed = {**precision.repairs, **({"rounding": "nearest"} if target.thinned else {})}
    return tuple(dict.fromkeys(replace(each, **fixed) for each in _LADDER))


def _makes_int8(target: TargetJob) -> bool:
    """Whether an artifact in int8 is at stake."""
    asked = target.job.recipe.precision.precision
    wanted = Precision.INT8 in candidates(target) if asked == "auto" else asked in {Precision.MIXED, Precision.INT8}
    return wanted and Precision.INT8 in target.backend.precisions


def _left_alone(target: TargetJob) -> str:
    """Why the int8 of this network on this back end is not repaired; "" where it is."""
    if target.job.original.quantized is not None and target.model is target.job.fused:
        return "what is quantized already keeps its scales"
    if not isinstance(target.backend, IntegerBackend):
        return f"the back end {target.backend.name} does not say what int8 is to it"
    return ""


def _asked(precision: PrecisionSection) -> list[str]:
    """The keys of a recipe that ask for a repair; those that say to leave something as it is hold everywhere."""
    return [key for key, value in precision.repairs.items() if value != getattr(PLAIN, key)]


def _no_place(asked: Sequence[str], reason: str) -> UsageError:
    flags = ", ".join(f"--{key.replace('_', '-')}" for key in asked)
    return UsageError(
        f"{flags}: this would repair int8, and {reason}", blame="the command line", remedy=f"Leave out: {flags}"
    )


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
