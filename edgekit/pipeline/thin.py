"""What becomes zero or shared in the weights before a target's artifact is compiled."""

from __future__ import annotations

from dataclasses import replace

from edgekit.passes.thin import Thinning
from edgekit.pipeline.stages import thin
from edgekit.pipeline.trial import TargetJob

__all__ = ["thinned"]


def thinned(target: TargetJob) -> TargetJob:
    """The job with the weights that its recipe wants, or as it is where that is all of them.

    Raises:
        InvalidInputError: there are no weights that could take part.
    """
    job, shrink = target.job, target.job.recipe.shrink
    if shrink.sparsity is None and shrink.clusters is None:
        return target
    thinning = Thinning(shrink.sparsity, shrink.pattern, shrink.clusters)
    samples = None if job.data.synthetic else job.calibration
    model = thin(job.store, target.model, thinning, samples=samples, seed=job.recipe.run.seed)
    return replace(target, thinned=model)
