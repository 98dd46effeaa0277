"""Which layers of a float network compute in int8, and which values are rounded for whom, given a QuantPlan.

Convolutions and matrix products with constant weights are quantized for their own sake. What lies between them (sums,
pools, concatenations) joins only where an int8 layer reads what comes of it. So what leads to an output alone stays
float, and outputs of different kinds, like boxes and scores, never share a scale.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams
from edgekit.passes.fuse.rewiring import constant, feeds_only

__all__ = ["MOVING", "Placement", "Storing", "has_weights", "is_computed", "makers", "place"]

# How a value is stored, by its name.
Storing = Callable[[str], QuantParams]

# These compute in int8 between int8 layers.
_JOINING = frozenset({"Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"})
# Their results are numbers of their first input, and are stored as it is.
MOVING = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize", "Slice", "Split",
     "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """Where a network rounds.

    Attributes:
        layers: names of the layers whose weights are int8.
        values: how each value that is rounded is stored, by its name.
        readers: for each of these the layers that get it by way of int8; None for all that read it and the outputs.
    """

    layers: frozenset[str]
    values: Mapping[str, QuantParams]
    readers: Mapping[str, frozenset[str] | None]


def place(
    model: Model, plan: QuantPlan, storing: Storing, rounded: Collection[str] = (), *, floats: bool = False
) -> Placement:
    """Where `model` rounds under `plan`. A ReLU or clip behind a layer belongs to it, whatever the plan says of it.

    Args:
        model: a float network; it is not changed.
        plan: the precision of each layer; those that can't be int8 stay float.
        storing: how a value is stored.
        rounded: names of results that are rounded even where no int8 layer reads them, as a quantized source does.
        floats: whether any kernel can give floats; ONNX Runtime's can't all.
    """
    made_by = makers(model.graph, storing)
    integer = _integer_nodes(model.graph, plan, made_by, rounded)
    values: dict[str, QuantParams] = {}
    readers: dict[str, frozenset[str] | None] = {}
    for value in [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]:
        maker = made_by.get(value)
        name = str(value.name)
        taking = [use.node for use in value.uses() if use.node in integer and _takes(use.node, use.idx)]
        kernel = maker if maker in integer else None
        # Kernels give integers to every reader or to none; a convolution, and a product with the activation behind it,
        # have no way to give floats.
        behind = value.producer() is not kernel
        only_integers = kernel is not None and not floats and (kernel.op_type == "Conv" or behind)
        everywhere = kernel is not None and (bool(taking) or name in rounded or only_integers)
        if not (taking or everywhere) or (maker is None and value.producer() is not None):
            continue
        moved = kernel.inputs[0] if kernel is not None and kernel.op_type in MOVING else None
        values[name] = values[str(moved.name)] if moved is not None else storing(name)
        readers[name] = None if everywhere else frozenset(str(reader.name) for reader in taking)
    return Placement(frozenset(str(node.name) for node in integer if has_weights(node)), values, readers)


def makers(graph: ir.Graph, storing: Storing) -> dict[ir.Value, ir.Node]:
    """The node that makes each value; for the result of an activation that rounding does, the layer in front of it.

    What lies between the two is nobody's: it is never rounded.
    """
    makers = {value: node for node in graph for value in node.outputs}
    for node in graph:
        source = node.inputs[0] if node.inputs else None
        layer = source.producer() if source is not None else None
        if source is None or layer is None or source not in makers or not feeds_only(source, node):
            continue
        if (has_weights(layer) or _joins(layer)) and _is_done_by_rounding(node, storing):
            makers[node.outputs[0]] = makers.pop(source)
    return makers


def _is_done_by_rounding(node: ir.Node, storing: Storing) -> bool:
    """Whether an activation cuts off nothing that can be stored of its result."""
    if node.op_type not in {"Clip", "Relu"}:
        return False
    limits = [constant(value) for value in node.inputs[1:]]
    if any(limit is None and value is not None for limit, value in zip(limits, node.inputs[1:], strict=True)):
        return False
    low, high = (float(limit) if limit is not None else None for limit in (*limits, None, None)[:2])
    low = 0.0 if node.op_type == "Relu" else low
    params = storing(str(node.outputs[0].name))
    return (low is None or params.low >= low) and (high is None or params.high <= high)


def _integer_nodes(
    graph: ir.Graph, plan: QuantPlan, makers: Mapping[ir.Value, ir.Node], rounded: Collection[str]
) -> set[ir.Node]:
    named = dict(plan.layers)
    made: dict[ir.Node, list[ir.Value]] = {}
    for value, maker in makers.items():
        made.setdefault(maker, []).append(value)
    found: set[ir.Node] = set()
    for node in reversed(list(graph)):
        wanted = named.get(node.name or "", plan.default) is Precision.INT8
        if wanted and has_weights(node):
            found.add(node)
        elif _moves(node) or (wanted and _joins(node)):
            results = made.get(node, ())
            read = any(use.node in found and _takes(use.node, use.idx) for value in results for use in value.uses())
            if read or any(value.name in rounded for value in results):
                found.add(node)
    return found


def _takes(node: ir.Node, index: int) -> bool:
    """Whether an input of a node is data: not its weights or sizes."""
    return index == 0 or node.op_type in _JOINING


def has_weights(node: ir.Node) -> bool:
    """Whether a node multiplies by constants that can be int8."""
    if node.domain or node.op_type not in {"Conv", "Gemm", "MatMul"} or not is_computed(node.inputs[0]):
        return False
    weights = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if weights is None or weights.dtype != np.float32 or weights.ndim < 2:
        return False
    if node.op_type == "MatMul":
        return weights.ndim == 2
    if len(node.inputs) > 2 and node.inputs[2] is not None and (bias is None or bias.ndim != 1):
        return False
    attributes = node.attributes
    plain = attributes.get_float("alpha", 1.0) == attributes.get_float("beta", 1.0) == 1.0
    return plain and not attributes.get_int("transA", 0)


def _joins(node: ir.Node) -> bool:
    if node.domain or node.op_type not in _JOINING:
        return False
    return all(is_computed(value) for value in node.inputs) and set(node.attributes.get_ints("dilations", [1])) == {1}


def _moves(node: ir.Node) -> bool:
    if node.domain or node.op_type not in MOVING or not is_computed(node.inputs[0]):
        return False
    if node.op_type == "Resize":
        return node.attributes.get_string("mode", "nearest") == "nearest"
    return node.op_type != "MaxPool" or len(node.outputs) == 1


def is_computed(value: ir.Value | None) -> bool:
    """Whether a value is float and depends on the network's input."""
    return value is not None and value.dtype is ir.DataType.FLOAT and constant(value) is None
