"""What becomes zero or shared in the weights before a target's artifact is compiled."""

from __future__ import annotations

from dataclasses import replace

from edgekit.passes.thin import Thinning
from edgekit.pipeline.recover import Recovery
from edgekit.pipeline.stages import thin
from edgekit.pipeline.trial import TargetJob

__all__ = ["thinned"]


def thinned(target: TargetJob, recovery: Recovery) -> TargetJob:
    """The job with the weights that its recipe wants, or as it is where that is all of them.

    Where there is training, it follows each step and keeps what that made.

    Raises:
        InvalidInputError: there are no weights that could take part.
    """
    job, shrink = target.job, target.job.recipe.shrink
    wanted = Thinning(shrink.sparsity, shrink.pattern, shrink.clusters)
    if not wanted.steps:
        return target
    samples = None if job.data.synthetic else job.calibration
    model = target.filled
    for step in wanted.steps if recovery.wanted else (wanted,):
        model = thin(job.store, model, step, samples=samples, seed=job.recipe.run.seed)
        found = {key: model.report[key] for key in ("sparsity", "layers")}
        target, model = recovery.train(target, model, thinned=True)
        model = replace(model, report={**model.report, **found})
    return replace(target, thinned=model)
