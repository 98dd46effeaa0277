"""Chance: the baseline that every other measure has to beat (Mittal et al., 2018, arXiv:1801.10447)."""

from __future__ import annotations

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.importance import Evidence, Scores, ranks_by

__all__ = ["random"]


@ranks_by("random")
def random(_: Model, dependencies: Dependencies, evidence: Evidence) -> Scores:
    """Uniform between 0 and 1; the same for the same seed."""
    generator = np.random.default_rng(evidence.seed)
    return tuple(generator.random(group.size) for group in dependencies.groups)
