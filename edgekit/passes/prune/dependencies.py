"""Which channels of a Model go together: the rules of its operators applied from its inputs to its outputs.

The idea of groups of parameters that only go at once, and of telling why, is that of DepGraph (Fang et al., CVPR 2023,
arXiv:2301.12900), there by layer on traced gradients; here it is by channel, on the graph itself.
"""

from __future__ import annotations

import enum
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse import STRUCTURE
from edgekit.passes.prune.channels import Channels, ChannelSets
from edgekit.passes.prune.layers import layers, name_of
from edgekit.passes.prune.rules import Axes, NodeChannels, rule_of, shape_of

__all__ = ["Dependencies", "Group", "Mask", "Member", "Role", "analyse", "plain"]

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Role(enum.StrEnum):
    """What an axis of a constant does with the channels."""

    MAKES = "makes"
    READS = "reads"
    FOLLOWS = "follows"


@dataclass(frozen=True)
class Member:
    """An axis of a constant that loses channels with its group.

    Attributes:
        name: the constant.
        axis: its axis.
        layer: the first node that reads the constant.
        role: makes channels, reads them (weights), or follows (a bias, the figures of a BatchNormalization, …).
        channels: (channels of the group, places a channel): which places of the axis each channel of the group takes.
    """

    name: str
    axis: int
    layer: str
    role: Role
    channels: np.ndarray[Any, np.dtype[np.int64]]

    def __str__(self) -> str:
        return f"{self.layer}, axis {self.axis} of {self.name}"


@dataclass(frozen=True)
class Group:
    """Channels that are alike: each goes alone, but from all its members at once.

    Attributes:
        name: of the layer that makes them first.
        roots: the set of each channel, (channels,).
        members: every axis of a constant that they take part in, in the order of the layers.
    """

    name: str
    roots: Channels
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """How many channels there are."""
        return int(self.roots.size)


@dataclass(frozen=True)
class Dependencies:
    """The channels of a Model.

    Attributes:
        groups: those that can shrink, in the order of the layers that make them.
        frozen: layer → why its channels stay, for each layer with weights whose channels can't go.
    """

    groups: tuple[Group, ...]
    frozen: dict[str, str]
    _sets: ChannelSets
    _root: Channels  # of every element
    _axes: dict[str, Axes]

    def roots(self, value: str, axis: int) -> Channels | None:
        """The set of each channel on an axis of a value, as `Group.roots` names them; None where none can go."""
        channels = self._axes[value][axis]
        return None if channels is None else self._root[channels]

    def kept(self, removed: Channels) -> dict[str, list[Mask | None]]:
        """For each value the channels of each axis that stay when the sets `removed` go; None where all do."""
        stays_with = np.ones(self._root.size, bool)
        stays_with[removed] = False

        def mask(channels: Channels | None) -> Mask | None:
            if channels is None:
                return None
            stays: Mask = stays_with[self._root[channels]]
            return None if stays.all() else stays

        return {name: [mask(axis) for axis in axes] for name, axes in self._axes.items()}

    def details(self, group: Group, channel: int = 0) -> list[str]:
        """Why the members of a group go together: one line a member, each "this one because of that one, by a node".

        Args:
            group: one of `groups`.
            channel: which of its channels.
        """
        owner: dict[int, Member] = {}
        for member in group.members:
            axes = self._axes[member.name][member.axis]
            assert axes is not None
            for place in member.channels[channel]:
                owner.setdefault(int(axes[place]), member)
        first = next(iter(owner))
        lines, told = [str(owner[first])], {id(owner[first])}
        # For each channel that was reached, the member that it was reached from.
        reached, queue = {first: owner[first]}, deque([first])
        while queue:
            at = queue.popleft()
            source = owner.get(at, reached[at])
            for link in self._sets.links(at):
                if link.other in reached or link.other == ChannelSets.FROZEN:
                    continue
                reached[link.other] = source
                queue.append(link.other)
                there = owner.get(link.other)
                if there is not None and id(there) not in told:
                    told.add(id(there))
                    lines.append(f"{there}: because of {source}, by {link.node}")
        return lines


def plain(model: Model) -> Model:
    """`model` with normalizations, activations and attention in one piece, as `analyse` understands them best.

    Taken apart they can look as if they mixed channels, or the batch. BatchNormalization stays.
    """
    return apply(model, STRUCTURE, 0, until_stable=True)[0]


def analyse(model: Model) -> Dependencies:
    """Find the channels of `model` that can go, and which of them only together. The model stays as it is."""
    sets = ChannelSets()
    known: dict[ir.Value, Axes] = {}
    for value in model.graph.inputs:
        known[value] = [None] * len(shape_of(value))
    for value in model.graph.initializers.values():
        known[value] = _own(value, sets)
    for node in model.graph:
        for read in node.inputs:
            if read is not None and read not in known:
                known[read] = [None] * len(shape_of(read))
        around = NodeChannels(node, sets, known)
        entry = rule_of(node)
        if entry is None:
            around.freeze_all(why="has no channel rule")
        else:
            entry.rule(around)
    for value in model.graph.outputs:
        for axes in known[value]:
            if axes is not None:
                sets.freeze(axes, f"they are the model's output {value.name}")
    axes_by_name = {str(value.name): axes for value, axes in known.items()}
    groups, frozen = _groups(model, sets, known), _frozen(model, sets, known)
    return Dependencies(groups, frozen, sets, sets.all_roots(), axes_by_name)


def _own(value: ir.Value, sets: ChannelSets) -> Axes:
    """A float constant's axes have channels of their own; whole numbers say how something is done."""
    floating = value.dtype is not None and value.dtype.is_floating_point()
    return [sets.new(size) if floating and size else None for size in shape_of(value)]


def _frozen(model: Model, sets: ChannelSets, known: dict[ir.Value, Axes]) -> dict[str, str]:
    """The layers none of whose channels can go, and why."""
    reasons = sets.reasons()
    frozen: dict[str, str] = {}
    for _, makes, _ in layers(model.graph):
        channels = known[makes.weights][makes.axis]
        if channels is not None and sets.is_frozen(channels):
            frozen[makes.layer] = reasons[int(channels[0])]
    return frozen


def _groups(model: Model, sets: ChannelSets, known: dict[ir.Value, Axes]) -> tuple[Group, ...]:
    """The sets that some layer makes and some layer reads; those that lie in the same axes equally often together."""
    made_by: dict[int, str] = {}
    read: set[int] = set()
    roles: dict[tuple[ir.Value, int], Role] = {}
    for _, makes, reads in layers(model.graph):
        for end, role in ((makes, Role.MAKES), (reads, Role.READS)):
            channels = known[end.weights][end.axis] if end is not None else None
            if end is None or channels is None:
                continue
            roles[end.weights, end.axis] = role
            roots = sets.roots(channels).tolist()
            if role is Role.MAKES:
                for root in roots:
                    made_by.setdefault(root, end.layer)
            else:
                read.update(roots)
    axes = _ordered(model, known)
    places = _places(axes, sets, made_by.keys() & read)
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for root, where in places.items():
        alike[tuple(axis for axis, _ in where)].append(root)
    return tuple(
        Group(
            made_by[roots[0]],
            np.array(roots),
            tuple(_members(axes, signature, [places[root] for root in roots], roles)),
        )
        for signature, roots in alike.items()
    )


# An axis of a value: the node that has it first, the value, the axis, its channels.
_Axis = tuple[str, ir.Value, int, Channels]


def _ordered(model: Model, known: dict[ir.Value, Axes]) -> list[_Axis]:
    """Every axis that has channels, in the order of the nodes: first what a node reads, then what it makes."""
    seen: set[ir.Value] = set()
    found: list[_Axis] = []
    for node in model.graph:
        for value in (*node.inputs, *node.outputs):
            if value is not None and value not in seen:
                seen.add(value)
                found += [
                    (name_of(node), value, axis, channels)
                    for axis, channels in enumerate(known[value])
                    if channels is not None
                ]
    return found


def _places(axes: Iterable[_Axis], sets: ChannelSets, wanted: set[int]) -> dict[int, list[tuple[int, int]]]:
    """For each wanted set its (axis, place) pairs, in order; sets in the order in which they come up."""
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (_, _, _, channels) in enumerate(axes):
        for place, root in enumerate(sets.roots(channels).tolist()):
            if root in wanted and root != sets.find(sets.FROZEN):
                places[root].append((number, place))
    return places


def _members(
    axes: list[_Axis],
    signature: tuple[int, ...],
    places: list[list[tuple[int, int]]],
    roles: dict[tuple[ir.Value, int], Role],
) -> Iterable[Member]:
    for number in dict.fromkeys(signature):
        layer, value, axis, _ = axes[number]
        if value.is_initializer():
            table = np.array([[place for at, place in where if at == number] for where in places])
            yield Member(str(value.name), axis, layer, roles.get((value, axis), Role.FOLLOWS), table)
