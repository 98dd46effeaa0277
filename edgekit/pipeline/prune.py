"""What goes from the network before a target's artifact is compiled, step by step, and the lock that remembers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgekit.core.digest import digest_file, digest_json
from edgekit.core.plain import from_json
from edgekit.passes.prune.request import Pruning
from edgekit.pipeline.lock import Lock, PruningChoice
from edgekit.pipeline.recover import Recovery
from edgekit.pipeline.speedup import meet_speedup
from edgekit.pipeline.stages import SourceModel, prune
from edgekit.pipeline.trial import TargetJob

__all__ = ["pruned"]

# Raised when the same request would choose other channels: older locks are then void.
_RULE = 2


def pruned(target: TargetJob, lock: Lock, recovery: Recovery) -> TargetJob:
    """The job with what its recipe wants pruned, and trained, or as it is where that is nothing.

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated. Where a share of
    the MACs goes in several steps, each is followed by a training; a speed-up is met first, and trained then.

    Raises:
        InvalidInputError: nothing can go, or not that much, or it doesn't get that fast.
    """
    target = recovery.begun(target)
    job, shrink, dense = target.job, target.job.recipe.shrink, target.teacher
    if shrink.prune is None and shrink.speedup is None:
        thinned = shrink.sparsity is not None or shrink.clusters is not None
        if thinned:
            return replace(target, shrunk=target.parent)
        return _trained(target, recovery, dense) if recovery.wanted else target
    samples, targets = job.calibration, None if job.original.states else job.data.targets("calibration")
    pruning = Pruning(
        prune=shrink.prune,
        importance=shrink.importance or ("l2" if job.data.synthetic else "activations"),
        schedule=shrink.schedule or ("capacity" if recovery.wanted else "uniform"),
        steps=shrink.prune_steps,
        multiple=target.target.channel_multiple,
        factorize=shrink.factorize,
    )
    in_turns = recovery.wanted and pruning.steps > 1 and shrink.speedup is None
    inputs = digest_json(
        {
            "rule": _RULE,
            "model": dense.digest,
            "pruning": pruning,
            "samples": digest_file(samples),
            "targets": targets and digest_file(targets),
            "seed": job.recipe.run.seed,
            "speedup": shrink.speedup and _measured_on(target),
            "recovery": recovery.settings if in_turns else None,
        }
    )

    def smaller(how: Pruning) -> TargetJob:
        return _chosen(target, inputs, once(dense, how))

    def once(model: SourceModel, how: Pruning) -> SourceModel:
        return prune(job.store, model, how, samples=samples, targets=targets, seed=job.recipe.run.seed)

    remembered = lock.pruning.get(target.target.name)
    again = remembered if remembered and remembered.inputs == inputs else None
    if in_turns:
        found = _in_turns(target, inputs, replace(pruning, kept=again.kept if again else ()), once, recovery)
    elif again:
        found = smaller(replace(pruning, kept=again.kept))
    elif shrink.speedup is None:
        found = smaller(pruning)
    else:
        found = meet_speedup(target, pruning, shrink.speedup, smaller)
    choice = found.pruning
    assert choice is not None
    if again:
        choice = replace(choice, multiple=again.multiple, predicted=again.predicted)
    lock.pruning[target.target.name] = choice
    assert found.shrunk is not None
    return _trained(replace(found, pruning=choice), recovery, found.shrunk)


def _in_turns(
    target: TargetJob,
    inputs: str,
    pruning: Pruning,
    once: Callable[[SourceModel, Pruning], SourceModel],
    recovery: Recovery,
) -> TargetJob:
    """The job pruned step by step, with a training between any two."""
    assert pruning.prune is not None
    model, left = target.teacher, 1.0
    kept: list[tuple[int, ...]] = []
    groups: dict[str, dict[str, Any]] = {}
    for step in range(1, pruning.steps + 1):
        if step > 1:
            target, model = recovery.train(target, model)
        # Of what is left; reckoned from the whole, so that the misses of the steps don't add up.
        amount = 1 - (1 - pruning.prune) ** (step / pruning.steps) / left
        how = replace(pruning, prune=amount, steps=1, kept=pruning.kept[step - 1 : step])
        model = once(model, how)
        kept += model.report["kept"]
        left *= model.report["left"]
        for group in model.report["groups"]:
            groups.setdefault(group["name"], dict(group))["kept"] = group["kept"]
    whole = {"kept": kept, "groups": [*groups.values()]}
    return _chosen(target, inputs, replace(model, report={**model.report, **whole}))


def _chosen(target: TargetJob, inputs: str, model: SourceModel) -> TargetJob:
    """The job with a pruned model, and what the lock is to remember of it."""
    told = {key: model.report[key] for key in ("kept", "multiple", "groups", "predicted")}
    choice: PruningChoice = from_json(PruningChoice, {"inputs": inputs, **told})
    return replace(target, shrunk=model, pruning=choice)


def _trained(target: TargetJob, recovery: Recovery, model: SourceModel) -> TargetJob:
    target, trained = recovery.train(target, model)
    return replace(target, shrunk=trained)


def _measured_on(target: TargetJob) -> dict[str, Any]:
    """What a choice that a clock made depends on."""
    recipe = target.job.recipe
    return {
        "speedup": recipe.shrink.speedup,
        "precision": recipe.precision.model_dump(mode="json"),
        "run": [recipe.run.batch, recipe.run.threads],
        "precisions": target.target.precisions,
        "options": target.options,
        "clock": target.clock.uri if target.speaks else None,
        "backend": [target.backend.name, target.backend.version],
        "tools": dict(target.backend.tools()),
    }
