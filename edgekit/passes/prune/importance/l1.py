"""The sum of the absolute weights around a channel (Li et al., ICLR 2017, arXiv:1608.08710)."""

from __future__ import annotations

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies, Role
from edgekit.passes.prune.importance import Evidence, Scores, content_of, on_channels, ranks_by

__all__ = ["l1"]


@ranks_by("l1")
def l1(model: Model, dependencies: Dependencies, _: Evidence) -> Scores:
    """Over all weights that make or read the channel, in every layer of its group (as DepGraph sums them up)."""
    return tuple(
        np.sum(
            [
                on_channels(member, np.abs(content_of(model, member.name)))
                for member in group.members
                if member.role is not Role.FOLLOWS
            ],
            axis=0,
        )
        for group in dependencies.groups
    )
