"""The fewest Transposes that give the same network.

Transposes that follow each other merge. Beyond that, many operators can work on data in another order of axes
(`permutable`), so a Transpose may move past them, split, or meet its inverse. For one order at a time, each such node
is either left as it is or works in that order; a Transpose is needed wherever a value is read on the other side. The
cheapest assignment is a minimum cut, so the result is the best there is for that order, however the graph is tangled.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.min_cut import Network
from edgekit.passes.fuse.permutable import absorbs, permutable, permute
from edgekit.passes.fuse.rewiring import bypass, constant, unique_node_name

__all__ = ["CancelTransposes"]

Order = tuple[int, ...]
_PLAIN, _PERMUTED = "plain", "permuted"
_UNLIMITED = 1 << 30


class CancelTransposes(Pass):
    """Cancels and merges Transposes, also past operators that can work in another order, if that leaves fewer."""

    name = "cancel-transposes"
    version = "2"

    def call(self, model: Model) -> PassResult:
        """One order at a time, until no order helps."""
        before = _count(model.graph)
        _merge_all(model.graph)
        while any(_improve(model, order) for order in _orders(model.graph)):
            _merge_all(model.graph)
        return PassResult(model, before - _count(model.graph))


def _count(graph: ir.Graph) -> int:
    return sum(node.op_type == "Transpose" for node in graph)


def _order(node: ir.Node | None) -> Order | None:
    """The order of a Transpose; None for another node."""
    if node is None or node.op_type != "Transpose" or node.domain:
        return None
    rank = len(node.outputs[0].shape or ())
    return tuple(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def _orders(graph: ir.Graph) -> list[Order]:
    """The orders of all Transposes and their inverses, in order of appearance."""
    found = [order for node in graph if (order := _order(node)) is not None]
    return list(dict.fromkeys(each for order in found for each in (order, _inverse(order))))


def _inverse(order: Order) -> Order:
    return tuple(int(place) for place in np.argsort(order))


def _merge_all(graph: ir.Graph) -> None:
    """Merge Transposes that follow each other or do the same, and take out those that do nothing."""
    while sum(_merge(node) for node in list(graph)) + _merge_twins(graph):
        _remove_unread(graph)


def _merge_twins(graph: ir.Graph) -> int:
    """Of several Transposes that do the same, keep the first."""
    first: dict[tuple[ir.Value | None, Order], ir.Node] = {}
    merged = 0
    for node in list(graph):
        if (order := _order(node)) is not None:
            twin = first.setdefault((node.inputs[0], order), node)
            merged += twin is not node and bypass(node, twin.outputs[0])
    return merged


def _merge(node: ir.Node) -> bool:
    second = _order(node)
    source = node.inputs[0] if node.inputs else None
    if second is None or source is None:
        return False
    if second == tuple(range(len(second))):
        return bypass(node, source)
    inner = source.producer()
    first = _order(inner)
    if first is None or inner is None or inner.inputs[0] is None:
        return False
    both = tuple(first[axis] for axis in second)
    if both == tuple(range(len(both))):
        return bypass(node, inner.inputs[0])
    node.replace_input_with(0, inner.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", both)
    return True


def _remove_unread(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if node.op_type == "Transpose" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)


def _improve(model: Model, order: Order) -> bool:
    """Let some nodes of `model` work in `order`, if that leaves fewer Transposes."""
    trial = model.clone()
    _Assignment(trial.graph, order).carry_out()
    _merge_all(trial.graph)
    if _count(trial.graph) >= _count(model.graph):
        return False
    model.proto = trial.proto
    return True


class _Assignment:
    """Which nodes work in another order. A value is plain, or permuted: then a Transpose by `order` makes it plain.

    The graph's own Transposes by that order or its inverse turn values: they only go between the two.
    """

    def __init__(self, graph: ir.Graph, order: Order) -> None:
        self._graph, self._order, self._inverse = graph, order, _inverse(order)
        self._opening = self._find_turns()
        self._shapes = {value: tuple(value.shape or ()) for value in _values(graph)}
        self._permuted: set[ir.Node] = set()

    def carry_out(self) -> None:
        """Find the best assignment, and rewrite the graph to it."""
        side = self._network().second_side(_PLAIN, _PERMUTED)
        nodes = [node for node in self._graph if node not in self._opening]
        self._permuted = {node for node in nodes if node in side}
        absorbing = [n for n in nodes if absorbs(n, self._order) and self._is_permuted(n.inputs[0])]
        told = [node for node in nodes if node in self._permuted or node in absorbing]
        reads = [
            (node, index, self._form(value, permuted=node in told))
            for node in nodes
            for index, value in enumerate(node.inputs)
            if value is not None and constant(value) is None
        ]
        outputs = [self._form(value, permuted=False) for value in self._graph.outputs]
        for node, index, value in reads:
            node.replace_input_with(index, value)
        for node in told:
            permute(node, self._order)
        for value in (value for node in nodes if node in self._permuted for value in node.outputs):
            value.shape = self._shape(value, permuted=True)
        for index, value in enumerate(outputs):
            self._become_output(index, value)
        _remove_unread(self._graph)

    def _find_turns(self) -> dict[ir.Node, bool]:
        """The Transposes that turn: True where one takes a plain value and gives a permuted one, without work.

        One that is its own inverse may do either: the first on a way from the inputs opens, the next closes.
        """
        depth: dict[ir.Value, int] = {}
        turns: dict[ir.Node, bool] = {}
        for node in self._graph:
            before = max((depth.get(value, 0) for value in node.inputs if value is not None), default=0)
            if (own := _order(node)) in {self._order, self._inverse}:
                turns[node] = own == self._order and (self._order != self._inverse or before % 2 == 0)
                before += 1
            depth |= dict.fromkeys(node.outputs, before)
        return turns

    def _network(self) -> Network:
        """What it costs to have nodes on different sides: 1 for each value that must be turned."""
        network = Network()
        for value in _values(self._graph):
            made = self._side(value)
            wanted = {self._wanted_by(use.node) for use in value.uses()} - {None, made}
            if value.is_graph_output() and made != _PLAIN:
                wanted.add(_PLAIN)
            for reader in wanted:
                network.add((value, _PERMUTED), reader, _UNLIMITED)
                network.add(reader, (value, _PLAIN), _UNLIMITED)
            if wanted:
                network.add(made, (value, _PERMUTED), 1)
                network.add((value, _PLAIN), made, 1)
        return network

    def _side(self, value: ir.Value) -> ir.Node | str:
        """Where a value is made: plain, permuted, or as its node is assigned."""
        node = value.producer()
        if node in self._opening:
            return _PERMUTED if self._opening[node] else _PLAIN
        return node if node is not None and permutable(node, len(self._order)) else _PLAIN

    def _wanted_by(self, node: ir.Node) -> ir.Node | str | None:
        """How a node wants what it reads; None if it takes either."""
        if node in self._opening:
            return _PLAIN if self._opening[node] else _PERMUTED
        if absorbs(node, self._order):
            return None
        return node if permutable(node, len(self._order)) else _PLAIN

    def _is_permuted(self, value: ir.Value | None) -> bool:
        side = self._side(value) if value is not None else _PLAIN
        return side == _PERMUTED or side in self._permuted

    def _form(self, value: ir.Value, *, permuted: bool) -> ir.Value:
        """The value, plain or permuted; turned where it is made the other way."""
        node = value.producer()
        if self._is_permuted(value) != permuted:
            base = self._form(value, permuted=not permuted)
            return self._turned(base, value, permuted=permuted)
        if node is not None and node in self._opening:
            assert node.inputs[0] is not None
            return self._form(node.inputs[0], permuted=not permuted)
        return value

    def _turned(self, base: ir.Value, value: ir.Value, *, permuted: bool) -> ir.Value:
        """What a Transpose makes of `base`, the other form of `value`: by one that is there already, or a new one."""
        order = self._inverse if permuted else self._order
        for use in base.uses():
            result = use.node.outputs[0]
            if _order(use.node) == order and (result is value or not result.is_graph_output()):
                result.shape = self._shape(value, permuted=permuted)
                return result
        maker = base.producer()
        name = unique_node_name(self._graph, f"{maker.name if maker is not None else base.name}/transpose")
        shape = self._shape(value, permuted=permuted)
        result = ir.val(f"{name}:0", type=value.type, shape=shape)
        node = ir.node("Transpose", [base], {"perm": list(order)}, outputs=[result], name=name)
        if maker is not None:
            self._graph.insert_after(maker, node)
        else:
            self._graph.insert_before(self._graph[0], node)
        return result

    def _shape(self, value: ir.Value, *, permuted: bool) -> ir.Shape:
        sizes = self._shapes[value]
        return ir.Shape([sizes[axis] for axis in self._inverse] if permuted else sizes)

    def _become_output(self, index: int, value: ir.Value) -> None:
        """Make `value` an output of the graph, under the name, layout and other metadata of the one in its place."""
        old = self._graph.outputs[index]
        if value is old:
            return
        if value.is_graph_input() or value.is_graph_output():
            identity = ir.node("Identity", [value], name=unique_node_name(self._graph, f"{old.name}/same"))
            self._graph.append(identity)
            identity.outputs[0].type, identity.outputs[0].shape = value.type, value.shape
            value = identity.outputs[0]
        name, metadata = old.name, dict(old.metadata_props)
        self._graph.outputs[index] = value
        old.name = f"{name}/permuted"
        old.metadata_props.clear()
        value.name = name
        value.metadata_props.update(metadata)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *(value for node in graph for value in node.outputs)]
