"""Layers with weights: which axes of the weights make channels, which read them, and where in the data those lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.passes.prune.rules import shape_of

__all__ = ["WeightAxis", "layers", "name_of"]


@dataclass(frozen=True)
class WeightAxis:
    """An axis of a layer's weights.

    Attributes:
        layer: the name of the node.
        weights: the constant.
        axis: its axis.
        data: the activation on the other side: what the layer makes, or reads, along this axis.
        data_axis: the axis of `data`.
    """

    layer: str
    weights: ir.Value
    axis: int
    data: ir.Value
    data_axis: int


def name_of(node: ir.Node) -> str:
    """How a node is called."""
    return node.name or node.op_type


def layers(graph: ir.Graph) -> Iterator[tuple[ir.Node, WeightAxis, WeightAxis | None]]:
    """Each layer with constant weights, with the axis that makes channels and the one that reads them.

    A depthwise convolution has None for the latter: it reads what it makes.
    """
    for node in graph:
        axes = _axes(node)
        if axes is None:
            continue
        weights, data = node.inputs[1], node.inputs[0]
        assert weights is not None
        assert data is not None
        made, made_at, taken, taken_at = axes
        makes = WeightAxis(name_of(node), weights, made, node.outputs[0], made_at)
        yield node, makes, None if taken is None else WeightAxis(name_of(node), weights, taken, data, taken_at)


def _axes(node: ir.Node) -> tuple[int, int, int | None, int] | None:
    """The making axis of the weights and of the output, the reading axis of the weights and of the data."""
    weights = node.inputs[1] if len(node.inputs) > 1 else None
    if node.domain or weights is None or not weights.is_initializer():
        return None
    groups, rank = node.attributes.get_int("group", 1), len(shape_of(weights))
    match node.op_type:
        case "Conv":
            return 0, 1, None if groups > 1 and shape_of(weights)[1] == 1 else 1, 1
        case "ConvTranspose":
            return 1, 1, 0, 1
        case "Gemm":
            made = 0 if node.attributes.get_int("transB", 0) else 1
            return made, 1, 1 - made, 0 if node.attributes.get_int("transA", 0) else 1
        case "MatMul" if rank > 1:
            return rank - 1, -1, rank - 2, -1
    return None
