"""The precision of a target: what was asked for, what the lock remembers, or what measurements favour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.core import events
from edgekit.core.digest import digest_json
from edgekit.core.errors import BrokenPromiseError, InvalidInputError, UnsupportedOpError, UsageError
from edgekit.core.plain import to_json
from edgekit.core.types import Precision, QuantPlan
from edgekit.pipeline.budget import has_budget, within_budget
from edgekit.pipeline.findings import Trial
from edgekit.pipeline.lock import Choice, Lock
from edgekit.pipeline.mixed import attempt_mixed
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import inside_accuracy

__all__ = ["COST_OF_FLOAT", "candidates", "choose", "inputs_of"]

# `auto` takes a smaller precision only if it costs at most this share of float's time: what the protocol can resolve.
COST_OF_FLOAT = 1.02
# Raised when `auto` would choose otherwise from the same measurements: older locks are then void.
_RULE = 7
# Keys of a recipe that say where something lies or runs: what is there counts apart.
_WHERE = {"model": {"path"}, "data": {"data", "train", "eval"}, "run": {"devices", "boards"}}


def choose(target: TargetJob, lock: Lock) -> tuple[Trial, tuple[Mapping[str, Any], ...]]:
    """The trial to ship, and the table it was chosen from (empty when nothing was weighed).

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated.

    Raises:
        UsageError: the back end can't make the precision that was asked for.
    """
    asked = target.job.recipe.precision.precision
    first, *_ = candidates(target)
    if asked not in {"auto", Precision.MIXED}:
        return target.attempt(QuantPlan(first)), ()
    inputs = inputs_of(target)
    remembered = lock.choices.get(target.target.name)
    if remembered and remembered.inputs == inputs:
        return target.attempt(remembered.plan), remembered.candidates
    rows: list[dict[str, Any]] = []
    trial = _mixed_as_asked(target, rows) if asked == Precision.MIXED else _first_good(target, rows)
    lock.choices[target.target.name] = Choice(inputs, trial.precision, tuple(rows), trial.plan.layers)
    return trial, tuple(rows)


def _first_good(target: TargetJob, rows: list[dict[str, Any]]) -> Trial:
    """The first that is accurate, cheap and small; where not even float is accurate, what adds no loss to float's."""
    tried: list[tuple[Trial, dict[str, Any]]] = []
    for precision in candidates(target):
        try:
            trial = _attempt(target, precision, tried)
        except (BrokenPromiseError, InvalidInputError, UnsupportedOpError) as error:
            if precision is Precision.FP32:
                raise
            events.warn(f"{target.target.name}: {precision} is out: {error.cause}")
            rows.append({"precision": precision, "error": error.cause})
            continue
        if trial is None:
            continue
        rows.append(row := _row(target, trial))
        tried.append((trial, row))
        if row["accurate"] and row["cheap"] and row["small"]:
            return trial
    *others, (floating, row) = tried
    # A network that was shrunk may miss the gate in any precision. More bits are then no remedy.
    return floating if row["accurate"] else _least_harmful(target, others, floating)


def _attempt(target: TargetJob, precision: Precision, tried: Sequence[tuple[Trial, dict[str, Any]]]) -> Trial | None:
    """The trial of a precision; None where int8 leaves nothing to mix, or where no mix helps."""
    if precision is not Precision.MIXED:
        return target.attempt(QuantPlan(precision))
    # A mix is no smaller than int8. It may be faster: the layers that it lifts can be those that int8 slows down.
    int8 = next((trial for trial, row in tried if trial.precision is Precision.INT8 and row["small"]), None)
    mixed = _mixed(target, int8) if int8 and not _accurate(target, int8) else None
    return within_budget(target, [mixed]) if mixed and has_budget(target) else mixed


def _mixed(target: TargetJob, int8: Trial) -> Trial | None:
    """int8 loses too much: lift layers, unless float itself misses the gate and int8 adds nothing to that."""
    limit, floating = target.job.recipe.gates.max_drop, target.attempt(QuantPlan(Precision.FP32))
    if inside_accuracy(floating.selection, limit):
        return attempt_mixed(target)
    if inside_accuracy(target.held_against(int8, floating), limit):
        return None
    return attempt_mixed(target, floating)


def _mixed_as_asked(target: TargetJob, rows: list[dict[str, Any]]) -> Trial:
    """int8 with as many layers in float as the gate wants, be it none, or as the budget has room for."""
    trials = [target.attempt(QuantPlan(Precision.INT8))]
    if not _accurate(target, trials[0]):
        if mixed := _mixed(target, trials[0]):
            trials.append(mixed)
        else:
            events.warn(f"{target.target.name}: no mix of int8 and float passes the accuracy gate")
    chosen = within_budget(target, trials[::-1]) if has_budget(target) else trials[-1]
    if all(chosen is not trial for trial in trials):
        trials.append(chosen)
    rows += [_row(target, trial) for trial in trials]
    return chosen


def _accurate(target: TargetJob, trial: Trial) -> bool:
    return inside_accuracy(trial.selection, target.job.recipe.gates.max_drop)


def _row(target: TargetJob, trial: Trial) -> dict[str, Any]:
    """What a trial is weighed by."""
    cost = trial.times.artifact.ratio if target.speaks else None
    return {
        "precision": trial.precision,
        "float_layers": [layer for layer, _ in trial.plan.layers],
        "bytes": trial.artifact.size,
        "ratio": cost,
        "drop": trial.selection[0].drop if trial.selection else None,
        "accurate": _accurate(target, trial),
        "cheap": cost is None or cost <= COST_OF_FLOAT,
        # A tiny network's int8 description can outweigh its weights: that shrinks nothing.
        "small": trial.artifact.size <= target.float_artifact.size,
    }


def _least_harmful(target: TargetJob, tried: Iterable[tuple[Trial, dict[str, Any]]], floating: Trial) -> Trial:
    """The first that is cheap and small and passes the gate when it is held against the same network in float."""
    for trial, row in tried:
        own = target.held_against(trial, floating)
        row["added_drop"] = own[0].drop if own else None
        row["harmless"] = inside_accuracy(own, target.job.recipe.gates.max_drop)
        if row["harmless"] and row["cheap"] and row["small"]:
            return trial
    return floating


def candidates(target: TargetJob) -> Iterable[Precision]:
    """The precision that was asked for; under `auto` all of them, in the order of trying.

    That is by size where a clock speaks for the target, else by what its CPU is good at. A source that is quantized is
    tried as it is first: no precision can give back what it rounded. The last one is always fp32.

    Raises:
        UsageError: the back end can't make the precision that was asked for.
    """
    asked = target.job.recipe.precision.precision
    if asked != "auto":
        if asked not in target.backend.precisions:
            raise UsageError(
                f"the back end {target.backend.name} makes no {asked}",
                blame="the command line",
                remedy=f"Ask for one of: {', '.join(target.backend.precisions)}, auto",
            )
        yield Precision(asked)
        return
    quantized = target.job.original.quantized is not None and target.model is target.job.fused
    provable = quantized or not target.job.data.synthetic
    for precision in Precision if quantized or target.speaks else target.target.precisions:
        wanted: tuple[Precision, ...] = (Precision.FP16,) if precision is Precision.FP16 else ()
        if precision is Precision.INT8 and provable:
            wanted = (Precision.INT8, Precision.MIXED)
        elif precision is Precision.DYNAMIC and provable:
            wanted = (Precision.DYNAMIC,)
        yield from (each for each in wanted if each in target.backend.precisions)
    yield Precision.FP32


def inputs_of(target: TargetJob) -> str:
    """Everything that a choice depends on."""
    job = target.job
    return digest_json(
        {
            "rule": _RULE,
            "model": job.original.digest,
            "shrunk": target.shrunk and target.shrunk.digest,
            "thinned": target.thinned and target.thinned.digest,
            "int8_form": target.int8_form and target.int8_form.digest,
            "repair": to_json(target.repair),
            "splits": {name: split["digest"] for name, split in job.data.entry.value["splits"].items()},
            "recipe": job.recipe.model_dump(mode="json", exclude=_WHERE),
            "precisions": target.target.precisions,
            "options": target.target.options,
            "clock": target.clock.uri if target.speaks else None,
            "backend": [target.backend.name, target.backend.version],
            "tools": dict(target.backend.tools()),
        }
    )
