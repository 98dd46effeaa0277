"""A network cut into steps for the sake of rounding: a layer with the activation that rounding does is one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.quantize.insert import has_storable_weights
from edgekit.passes.quantize.placement import MOVING, Storing, is_computed, makers

__all__ = ["Segment", "segments"]


@dataclass(frozen=True)
class Segment:
    """What is computed in one go.

    Attributes:
        nodes: in the order in which they run.
        layer: the one that makes new numbers, which rounding changes; None where nothing does.
        values: what it makes, by the activation behind it where that belongs to it.
        weights: whether it multiplies by constants that can be int8.
    """

    nodes: tuple[ir.Node, ...]
    layer: ir.Node | None
    values: tuple[ir.Value, ...]
    weights: bool


def segments(model: Model, storing: Storing) -> tuple[Segment, ...]:
    """The steps of `model`, in an order in which they can run.

    Args:
        model: a float network.
        storing: how a value is stored; a ReLU or clip that cuts off nothing beyond belongs to the layer in front.
    """
    return tuple(_segments(model.graph, storing))


def _segments(graph: ir.Graph, storing: Storing) -> Iterator[Segment]:
    made = makers(graph, storing)
    behind = {maker: node for value, maker in made.items() if (node := value.producer()) not in {maker, None}}
    merged = set(behind.values())
    for node in graph:
        if node in merged:
            continue
        last = behind.get(node, node)
        nodes = (node,) if last is node or last is None else (node, last)
        values = tuple(value for value in nodes[-1].outputs if value.dtype is ir.DataType.FLOAT and _is_used(value))
        rounds = values and node.op_type not in MOVING and any(is_computed(value) for value in node.inputs)
        yield Segment(nodes, node if rounds else None, values, has_storable_weights(node))


def _is_used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
