"""The channel rule of each operator: how the channels of its inputs and outputs hang together, one family a file.

A rule is a function of a `NodeChannels`. It unites the channels that must go together, freezes those that must stay,
and says which channels each output has. An operator whose attributes or constants count channels also has an `adapt`:
it brings them up to date once channels have gone. An operator without a rule freezes whatever touches it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.passes.prune.channels import Channels, ChannelSets

__all__ = ["Adapt", "Axes", "Kept", "NodeChannels", "Rule", "channel_rule", "read_by", "rule_of"]

# The channels of a value's axes; None for an axis whose size stays.
Axes = list[Channels | None]
# Which channels of an axis of a value stay: a mask, or None where all do.
Kept = Callable[[ir.Value, int], "np.ndarray[Any, np.dtype[np.bool_]] | None"]


class NodeChannels:
    """A node and the channels around it, as a rule sees them."""

    def __init__(self, node: ir.Node, sets: ChannelSets, known: dict[ir.Value, Axes]) -> None:
        self.node, self.sets, self._known = node, sets, known
        self.name = node.name or node.op_type

    def channels(self, index: int) -> Axes:
        """The channels of an input's axes; an input that is absent has no axes."""
        value = self.value(index)
        return self._known[value] if value is not None else []

    def value(self, index: int) -> ir.Value | None:
        """An input, or None where it is absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return self.value(index) is not None

    def shape(self, index: int) -> tuple[int | None, ...]:
        """The shape of an input; None for the batch."""
        return shape_of(self.value(index))

    def output_shape(self, index: int = 0) -> tuple[int | None, ...]:
        """The shape of an output; None for the batch."""
        return shape_of(self.node.outputs[index])

    def constant(self, index: int) -> np.ndarray[Any, Any] | None:
        """The content of an input, if it is constant."""
        value = self.value(index)
        tensor = ir.convenience.get_const_tensor(value) if value is not None else None
        return tensor.numpy() if tensor is not None else None

    def give(self, *outputs: Axes) -> None:
        """Say which channels the outputs have; those that are left out have none that could go."""
        for place, value in enumerate(self.node.outputs):
            self._known[value] = list(outputs[place]) if place < len(outputs) else [None] * len(shape_of(value))

    def meet(self, left: Channels | None, right: Channels | None) -> Channels | None:
        """Two axes that are one: united channel by channel, or frozen where one of them stays as it is."""
        if left is None or right is None:
            self.freeze(left, right, why="joins them with an axis that stays as it is")
            return None
        self.sets.unite(left, right, self.name)
        return left

    def tie(self, table: Channels) -> Channels:
        """Channels that go row by row: each row becomes one set; its first column stands for it.

        Args:
            table: (sets, channels of a set).
        """
        first = table[:, 0]
        for column in table.T[1:]:
            self.sets.unite(first, column, self.name)
        return first

    def freeze(self, *axes: Channels | None, why: str = "needs every one of them") -> None:
        """Channels that must stay because of this node.

        Args:
            axes: the channels; None where there are none that could go.
            why: what the node does that they must stay, as the end of a sentence that begins with the node.
        """
        reason = f"{self.name} ({self.node.op_type}) {why}"
        for channels in axes:
            if channels is not None:
                self.sets.freeze(channels, reason)

    def freeze_all(self, *, why: str) -> None:
        """Everything that this node reads stays, also what the graphs inside it read; `why` as for `freeze`."""
        for value in read_by(self.node):
            self.freeze(*self._known.get(value, []), why=why)
        self.give()


Rule = Callable[[NodeChannels], None]
Adapt = Callable[[ir.Node, Kept], None]


@dataclass(frozen=True)
class _Entry:
    rule: Rule
    adapt: Adapt | None


_RULES: dict[str, _Entry] = {}


def channel_rule(*ops: str, adapt: Adapt | None = None) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of the op types `ops`."""

    def register(rule: Rule) -> Rule:
        for op in ops:
            if op in _RULES:
                raise ValueError(f"{op} has a channel rule already: {_RULES[op].rule.__module__}")
            _RULES[op] = _Entry(rule, adapt)
        return rule

    return register


def rule_of(node: ir.Node) -> _Entry | None:
    """The entry of a node's operator; None where it has no rule."""
    if not _RULES:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
    return _RULES.get(node.op_type) if not node.domain else None


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, and what the graphs inside it read."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        graphs: Sequence[ir.Graph] = ()
        if attribute.type is ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        elif attribute.type is ir.AttributeType.GRAPHS:
            graphs = attribute.as_graphs()
        for inner in (inner for graph in graphs for inner in graph):
            yield from read_by(inner)


def shape_of(value: ir.Value | None) -> tuple[int | None, ...]:
    """The sizes of a value's axes; None for the batch."""
    if value is None or value.shape is None:
        return ()
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def broadcast(node: NodeChannels, operands: Sequence[Axes], shapes: Sequence[tuple[int | None, ...]]) -> Axes:
    """The axes of what numpy's broadcasting makes of operands: axes of one size meet, one of size 1 takes no part."""
    rank = max(map(len, shapes))
    result: Axes = []
    for place in range(rank):
        wide: list[Channels | None] = []
        for axes, shape in zip(operands, shapes, strict=True):
            axis = place - (rank - len(shape))
            if axis >= 0 and shape[axis] != 1:
                wide.append(axes[axis])
            elif axis >= 0:
                node.freeze(axes[axis], why="broadcasts them")
        met = wide[0] if wide else None
        for other in wide[1:]:
            met = node.meet(met, other)
        result.append(met)
    return result
