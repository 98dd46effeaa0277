"""What `edgekit explain --pruning` shows, as data: which channels go together, why, and what stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.ir.model import Model

__all__ = ["FrozenLayer", "GroupMember", "PruningExplanation", "PruningGroup", "explain_model"]


@dataclass(frozen=True)
class GroupMember:
    """An axis that loses channels with its group.

    Attributes:
        layer: the layer.
        constant, axis: which of its constants, and where.
        role: "makes", "reads" or "follows".
    """

    layer: str
    constant: str
    axis: int
    role: str


@dataclass(frozen=True)
class PruningGroup:
    """Channels of which each goes alone, but from all members at once.

    Attributes:
        name: the layer that makes them first.
        channels: how many there are.
        macs_share: the share of the model's MACs that goes when all of them but one go, 0..1.
        members: what goes with them, in the order of the layers.
        because: the chain: one line a member that says because of which other one it goes, and by which node.
    """

    name: str
    channels: int
    macs_share: float
    members: tuple[GroupMember, ...]
    because: tuple[str, ...]


@dataclass(frozen=True)
class FrozenLayer:
    """A layer whose channels stay, and why."""

    layer: str
    reason: str


@dataclass(frozen=True)
class PruningExplanation:
    """What pruning can do with a model.

    Attributes:
        macs, params: of the whole model.
        prunable_share: the share of the MACs that can go at most, one channel of each group left, 0..1.
        groups: what can shrink, in the order of the layers.
        frozen: what stays.
    """

    macs: int
    params: int
    prunable_share: float
    groups: tuple[PruningGroup, ...]
    frozen: tuple[FrozenLayer, ...]


def explain_model(model: Model) -> PruningExplanation:
    """What pruning can do with `model`; runs and changes nothing."""
    import numpy as np

    from edgekit.passes.prune.costs import costs
    from edgekit.passes.prune.dependencies import analyse

    dependencies = analyse(model)
    cost = costs(model, dependencies)
    full = np.array([group.size for group in dependencies.groups], np.int64)

    def share(kept: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
        return 1 - cost.macs(kept) / cost.macs() if cost.macs() else 0.0

    alone = [np.where(np.arange(full.size) == at, 1, full) for at in range(full.size)]
    return PruningExplanation(
        macs=round(cost.macs()),
        params=round(cost.params()),
        prunable_share=share(np.ones_like(full)),
        groups=tuple(
            PruningGroup(
                name=group.name,
                channels=group.size,
                macs_share=share(kept),
                members=tuple(GroupMember(m.layer, m.name, m.axis, m.role.value) for m in group.members),
                because=tuple(dependencies.details(group)),
            )
            for group, kept in zip(dependencies.groups, alone, strict=True)
        ),
        frozen=tuple(FrozenLayer(layer, reason) for layer, reason in dependencies.frozen.items()),
    )
