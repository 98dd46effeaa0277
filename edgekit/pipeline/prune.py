"""What goes from the network before a target's artifact is compiled, and the lock that remembers it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekit.core.digest import digest_file, digest_json
from edgekit.core.types import from_json
from edgekit.passes.prune.request import Pruning
from edgekit.pipeline.lock import Lock, PruningChoice
from edgekit.pipeline.speedup import meet_speedup
from edgekit.pipeline.stages import fuse, prune
from edgekit.pipeline.trial import TargetJob

__all__ = ["pruned"]

# Raised when the same request would choose other channels: older locks are then void.
_RULE = 1


def pruned(target: TargetJob, lock: Lock) -> TargetJob:
    """The job with what its recipe wants pruned, or as it is where that is nothing.

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated.

    Raises:
        InvalidInputError: nothing can go, or not that much, or it doesn't get that fast.
    """
    job, shrink = target.job, target.job.recipe.shrink
    if shrink.prune is None and shrink.speedup is None:
        return target
    samples, targets = job.calibration, None if job.original.states else job.data.targets("calibration")
    pruning = Pruning(
        prune=shrink.prune,
        importance=shrink.importance or ("l2" if job.data.synthetic else "activations"),
        schedule=shrink.schedule,
        steps=shrink.prune_steps,
        multiple=target.target.channel_multiple,
    )
    inputs = digest_json(
        {
            "rule": _RULE,
            "model": job.original.digest,
            "pruning": pruning,
            "samples": digest_file(samples),
            "targets": targets and digest_file(targets),
            "seed": job.recipe.run.seed,
            "speedup": shrink.speedup and _measured_on(target),
        }
    )

    def smaller(how: Pruning) -> TargetJob:
        model = prune(job.store, job.original, how, samples=samples, targets=targets, seed=job.recipe.run.seed)
        found = {key: model.report[key] for key in ("kept", "multiple", "groups", "predicted")}
        choice: PruningChoice = from_json(PruningChoice, {"inputs": inputs, **found})
        return replace(target, pruned=fuse(job.store, model, job.recipe.run.seed), pruning=choice)

    remembered = lock.pruning.get(target.target.name)
    if remembered and remembered.inputs == inputs:
        again = smaller(replace(pruning, kept=remembered.kept))
        assert again.pruning is not None
        choice = replace(again.pruning, multiple=remembered.multiple, predicted=remembered.predicted)
        return replace(again, pruning=choice)
    found = smaller(pruning) if shrink.speedup is None else meet_speedup(target, pruning, shrink.speedup, smaller)
    assert found.pruning is not None
    lock.pruning[target.target.name] = found.pruning
    return found


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
