"""The Euclidean norm of the weights around a channel (as in He et al., IJCAI 2018, arXiv:1808.06866)."""

from __future__ import annotations

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies, Role
from edgekit.passes.prune.importance import Evidence, Scores, content_of, on_channels, ranks_by

__all__ = ["l2"]


@ranks_by("l2")
def l2(model: Model, dependencies: Dependencies, _: Evidence) -> Scores:
    """Over all weights that make or read the channel, in every layer of its group (as DepGraph sums them up)."""
    return tuple(
        np.sqrt(
            np.sum(
                [
                    on_channels(member, content_of(model, member.name) ** 2)
                    for member in group.members
                    if member.role is not Role.FOLLOWS
                ],
                axis=0,
            )
        )
        for group in dependencies.groups
    )
