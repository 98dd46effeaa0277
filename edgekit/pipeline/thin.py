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

    Where they are trained, zeros come first, and then code books; each is followed by a training that keeps them.

    Raises:
        InvalidInputError: there are no weights that could take part.
    """
    job, shrink = target.job, target.job.recipe.shrink
    wanted = Thinning(shrink.sparsity, shrink.pattern, shrink.clusters)
    steps = _steps(wanted) if recovery.wanted else (wanted,)
    if shrink.sparsity is None and shrink.clusters is None:
        return target
    samples = None if job.data.synthetic else job.calibration
    model = target.filled
    for step in steps:
        model = thin(job.store, model, step, samples=samples, seed=job.recipe.run.seed)
        found = {key: model.report[key] for key in ("sparsity", "layers")}
        target, model = recovery.train(target, model, thinned=True)
        model = replace(model, report={**model.report, **found})
    return replace(target, thinned=model)


def _steps(wanted: Thinning) -> tuple[Thinning, ...]:
    steps = (replace(wanted, clusters=None), replace(wanted, sparsity=None))
    return tuple(step for step in steps if step.sparsity is not None or step.clusters is not None)
