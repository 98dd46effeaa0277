"""The scale of the BatchNormalizations that a channel goes through (Liu et al., ICCV 2017, arXiv:1708.06519)."""

from __future__ import annotations

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.importance import Evidence, Scores, content_of, on_channels, ranks_by
from edgekit.passes.prune.importance.l2 import l2

__all__ = ["batch_norm"]


@ranks_by("batch-norm")
def batch_norm(model: Model, dependencies: Dependencies, evidence: Evidence) -> Scores:
    """The sum of the absolute scales; a group without BatchNormalization is ranked by `l2`.

    Raises:
        InvalidInputError: no group has one.
    """
    scales = {
        str(value.name)
        for node in model.graph
        if node.op_type == "BatchNormalization" and (value := node.inputs[1]) is not None
    }
    members = [[member for member in group.members if member.name in scales] for group in dependencies.groups]
    if dependencies.groups and not any(members):
        raise InvalidInputError(
            "no channel that can go passes a BatchNormalization, so there are no scales to rank by",
            blame="your recipe on this model",
            remedy="Take another importance: l2",
        )
    return tuple(
        np.sum([on_channels(member, np.abs(content_of(model, member.name))) for member in found], axis=0)
        if found
        else by_weights
        for found, by_weights in zip(members, l2(model, dependencies, evidence), strict=True)
    )
