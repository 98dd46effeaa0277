"""A float network in its quantized form: QuantizeLinear and DequantizeLinear where values and weights are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.ir.quantization import REARRANGING, QuantParams
from edgekit.passes.fuse.rewiring import Array, constant, new_constant, unique_node_name
from edgekit.passes.quantize.weights import scale_for_bias, weight_scale

__all__ = ["channel_axis", "has_storable_weights", "insert_qdq", "new_node", "round_value", "store_weights"]

_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def insert_qdq(model: Model, params: Mapping[str, QuantParams], keep: Collection[str] = (), *, top: int = 127) -> Model:
    """A copy of `model` that rounds values to int8, and has the weights of its linear layers in int8.

    Weights are symmetric: see `weight_scale`. Biases and the network's outputs stay float.

    Args:
        model: a float network.
        params: how to store values, by name; the others are not rounded.
        keep: layers that compute in float, with float weights.
        top: the greatest integer of weights.
    """
    model = model.clone()
    graph = model.graph
    for node in [node for node in graph if node.op_type in _LINEAR and node.name not in keep]:
        store_weights(graph, node, top=top)
    for value in [*graph.inputs, *(value for node in graph for value in node.outputs)]:
        found = params.get(value.name or "")
        readers = frozenset(str(use.node.name) for use in value.uses() if use.node.name not in keep)
        if found is not None and readers and not _is_rounded_before(value, params):
            round_value(graph, value, found, readers, np.int8)
    return model


def store_weights(
    graph: ir.Graph, node: ir.Node, bias: Array | None = None, step: float = 1.0, top: int = 127
) -> Array:
    """int8 and a DequantizeLinear in place of the float weights of a linear layer; nothing where they are none.

    Args:
        bias: to be stored in int32, with the scale of the weights × `step`.
        step: the scale of the layer's input.
        top: the greatest integer.

    Returns:
        The scale of the weights.
    """
    if not has_storable_weights(node):
        return np.ones((), np.float32)
    value, weights = node.inputs[1], constant(node.inputs[1])
    assert value is not None
    assert weights is not None
    axis = channel_axis(node, weights.ndim)
    scale = weight_scale(weights, axis, top)
    if bias is not None:
        scale = scale_for_bias(scale, weights, axis, bias / step)
    wide = scale.reshape([-1 if scale.ndim and at == axis else 1 for at in range(weights.ndim)])
    stored = np.clip(np.rint(weights / wide), -top, top).astype(np.int8)
    name = f"{node.name}/weights"
    inputs = [
        new_constant(graph, f"{name}/int8", stored),
        new_constant(graph, f"{name}/scale", scale),
        new_constant(graph, f"{name}/zero_point", np.zeros(scale.shape, np.int8)),
    ]
    restored = new_node(graph, "DequantizeLinear", inputs, name, {"axis": axis} if scale.ndim else {})
    restored.outputs[0].dtype, restored.outputs[0].shape = ir.DataType.FLOAT, ir.Shape(weights.shape)
    graph.insert_before(node, restored)
    node.replace_input_with(1, restored.outputs[0])
    if not value.uses() and not value.is_graph_output():
        graph.initializers.pop(value.name or "")
    return scale


def has_storable_weights(node: ir.Node) -> bool:
    """Whether a node is a linear layer with constant float weights."""
    weights = constant(node.inputs[1]) if node.op_type in _LINEAR else None
    return weights is not None and weights.dtype == np.float32 and weights.ndim >= 2


def channel_axis(node: ir.Node, rank: int) -> int:
    """The axis of the output channels in a linear layer's weights."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return rank - 1


def _is_rounded_before(value: ir.Value, params: Mapping[str, QuantParams]) -> bool:
    """Whether it only rearranges a value that is rounded to the same integers."""
    node = value.producer()
    if node is None or node.op_type not in REARRANGING or node.inputs[0] is None:
        return False
    return params.get(node.inputs[0].name or "") == params[value.name or ""]


def round_value(
    graph: ir.Graph,
    value: ir.Value,
    params: QuantParams,
    readers: Collection[str] | None,
    kind: type[np.int8 | np.uint8],
) -> None:
    """Readers get a value by way of integers.

    Args:
        params: how it is stored; for uint8 its zero point moves by 128.
        readers: the names of these nodes; None for all of them, and the network's outputs.
        kind: the integers.
    """
    zero_point = params.zero_point + (128 if kind is np.uint8 else 0)
    uses = [use for use in value.uses() if readers is None or use.node.name in readers]
    scale = new_constant(graph, f"{value.name}/scale", np.asarray(params.scale, np.float32))
    zero = new_constant(graph, f"{value.name}/zero_point", np.asarray(zero_point, kind))
    quantize = new_node(graph, "QuantizeLinear", [value, scale, zero], f"{value.name}/QuantizeLinear", {})
    stored = quantize.outputs[0]
    restore = new_node(graph, "DequantizeLinear", [stored, scale, zero], f"{value.name}/DequantizeLinear", {})
    restored = restore.outputs[0]
    stored.dtype, stored.shape = ir.DataType.from_numpy(np.dtype(kind)), value.shape
    restored.dtype, restored.shape = ir.DataType.FLOAT, value.shape
    for use in uses:
        use.node.replace_input_with(use.idx, restored)
    if readers is None and value.is_graph_output():
        _take_the_place(graph, restored, value)
    if (producer := value.producer()) is not None:
        graph.insert_after(producer, [quantize, restore])
    else:
        graph.insert_before(graph[0], [quantize, restore])


def _take_the_place(graph: ir.Graph, restored: ir.Value, value: ir.Value) -> None:
    """The restored value is the output, under its name."""
    restored.metadata_props.update(value.metadata_props)
    for place, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[place] = restored
    value.name, restored.name = f"{value.name}/computed", value.name


def new_node(graph: ir.Graph, op: str, inputs: list[ir.Value], name: str, attributes: dict[str, int]) -> ir.Node:
    """A node called `name` with an output called after it; it stands nowhere yet."""
    node = ir.node(op, inputs, attributes, name=unique_node_name(graph, name))
    node.outputs[0].name = f"{name}:0"
    return node
