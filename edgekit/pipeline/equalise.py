"""Channels that stand out are brought in line before anything is made int8."""

from __future__ import annotations

from dataclasses import replace

from edgekit.core.types import Precision
from edgekit.pipeline.job import Job
from edgekit.pipeline.stages import SourceModel, equalise

__all__ = ["equalised"]


def equalised(job: Job, model: SourceModel) -> SourceModel:
    """A fused model with its channels in line; as it is where it has none that stands out, or int8 is not at stake.

    What a quantized source rounded has its scales already, and noise in the place of data shows no ranges.
    """
    wanted = job.recipe.precision.precision in {"auto", Precision.INT8, Precision.MIXED, Precision.DYNAMIC}
    if not wanted or job.data.synthetic or job.original.quantized is not None:
        return model
    even = equalise(job.store, model, samples=job.calibration, seed=job.recipe.run.seed)
    if not even.report["equalised"]:
        return model
    return replace(even, report={**even.report, "passes": model.report["passes"]})
