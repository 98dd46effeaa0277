"""The precision of a target: what was asked for, what the lock remembers, or what measurements favour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekit.core import events
from edgekit.core.digest import digest_json
from edgekit.core.errors import BrokenPromiseError, InvalidInputError, UnsupportedOpError, UsageError
from edgekit.core.types import Precision
from edgekit.pipeline.findings import Trial
from edgekit.pipeline.lock import Choice, Lock
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import inside_accuracy

__all__ = ["COST_OF_FLOAT", "candidates", "choose"]

# `auto` takes a smaller precision only if it costs at most this share of float's time: what the protocol can resolve.
COST_OF_FLOAT = 1.02
# Raised when `auto` would choose otherwise from the same measurements: older locks are then void.
_RULE = 4
# Keys of a recipe that say where something lies or runs: what is there counts apart.
_WHERE = {"model": {"path"}, "data": {"data", "train", "eval"}, "run": {"devices", "boards"}}


def choose(target: TargetJob, lock: Lock) -> tuple[Trial, tuple[Mapping[str, Any], ...]]:
    """The trial to ship, and the table it was chosen from (empty when nothing was weighed).

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated.

    Raises:
        UsageError: the back end can't make the precision that was asked for.
    """
    if target.job.recipe.precision.precision != "auto":
        (precision,) = candidates(target)
        return target.attempt(precision), ()
    inputs = _inputs(target)
    remembered = lock.choices.get(target.target.name)
    if remembered and remembered.inputs == inputs:
        return target.attempt(remembered.precision), remembered.candidates
    rows: list[dict[str, Any]] = []
    trial = _first_good(target, rows)
    lock.choices[target.target.name] = Choice(inputs, trial.precision, tuple(rows))
    return trial, tuple(rows)


def _first_good(target: TargetJob, rows: list[dict[str, Any]]) -> Trial:
    """The first that is accurate, cheap and small; where not even float is accurate, what adds no loss to float's."""
    tried: list[tuple[Trial, dict[str, Any]]] = []
    for precision in candidates(target):
        try:
            trial = target.attempt(precision)
        except (BrokenPromiseError, InvalidInputError, UnsupportedOpError) as error:
            if precision is Precision.FP32:
                raise
            events.warn(f"{target.target.name}: {precision} is out: {error.cause}")
            rows.append({"precision": precision, "error": error.cause})
            continue
        rows.append(row := _row(target, trial))
        tried.append((trial, row))
        if row["accurate"] and row["cheap"] and row["small"]:
            return trial
    *others, (floating, row) = tried
    # A network that was shrunk may miss the gate in any precision. More bits are then no remedy.
    return floating if row["accurate"] else _least_harmful(target, others, floating)


def _row(target: TargetJob, trial: Trial) -> dict[str, Any]:
    """What a trial is weighed by."""
    cost = trial.times.artifact.ratio if target.speaks else None
    return {
        "precision": trial.precision,
        "bytes": trial.artifact.size,
        "ratio": cost,
        "drop": trial.selection[0].drop if trial.selection else None,
        "accurate": inside_accuracy(trial.selection, target.job.recipe.gates.max_drop),
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
    order = tuple(Precision) if quantized or target.speaks else target.target.precisions
    for precision in order:
        unprovable = precision is Precision.INT8 and target.job.data.synthetic and not quantized
        if precision in target.backend.precisions and precision is not Precision.FP32 and not unprovable:
            yield precision
    yield Precision.FP32


def _inputs(target: TargetJob) -> str:
    """Everything that a choice depends on."""
    job = target.job
    return digest_json(
        {
            "rule": _RULE,
            "model": job.original.digest,
            "shrunk": target.shrunk and target.shrunk.digest,
            "thinned": target.thinned and target.thinned.digest,
            "int8_form": target.int8_form and target.int8_form.digest,
            "splits": {name: split["digest"] for name, split in job.data.entry.value["splits"].items()},
            "recipe": job.recipe.model_dump(mode="json", exclude=_WHERE),
            "precisions": target.target.precisions,
            "options": target.target.options,
            "clock": target.clock.uri if target.speaks else None,
            "backend": [target.backend.name, target.backend.version],
            "tools": dict(target.backend.tools()),
        }
    )
