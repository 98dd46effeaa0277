"""What goes from the network before a target's artifact is compiled, and the lock that remembers it."""

from __future__ import annotations

from dataclasses import replace

from edgekit.core.digest import digest_file, digest_json
from edgekit.core.types import from_json
from edgekit.passes.prune.request import Pruning
from edgekit.pipeline.lock import Lock, PruningChoice
from edgekit.pipeline.stages import fuse, prune
from edgekit.pipeline.trial import TargetJob

__all__ = ["pruned"]

# Raised when the same request would choose other channels: older locks are then void.
_RULE = 1


def pruned(target: TargetJob, lock: Lock) -> TargetJob:
    """The job with what its recipe wants pruned, or as it is where that is nothing.

    A choice made here is put into `lock`; one that `lock` remembers for the same inputs is repeated.

    Raises:
        InvalidInputError: nothing can go, or not that much.
    """
    job, shrink = target.job, target.job.recipe.shrink
    if shrink.prune is None:
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
        }
    )
    remembered = lock.pruning.get(target.target.name)
    if remembered and remembered.inputs == inputs:
        pruning = replace(pruning, kept=remembered.kept)
    smaller = prune(job.store, job.original, pruning, samples=samples, targets=targets, seed=job.recipe.run.seed)
    found = {"inputs": inputs, **{key: smaller.report[key] for key in ("kept", "multiple", "groups")}}
    choice: PruningChoice = from_json(PruningChoice, found)
    if pruning.kept and remembered:
        choice = replace(choice, multiple=remembered.multiple)
    lock.pruning[target.target.name] = choice
    return replace(target, pruned=fuse(job.store, smaller, job.recipe.run.seed), pruning=choice)
