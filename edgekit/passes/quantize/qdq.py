"""A float network in int8, as an ONNX graph: QuantizeLinear and DequantizeLinear where a Placement says.

int8 weights symmetric with a scale for each channel, uint8 activations, int32 biases whose scale is that of the
input × that of the weights: what ONNX Runtime has kernels for on x86 and on ARM.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.fuse.rewiring import Array, constant, new_constant
from edgekit.passes.quantize.insert import new_node, round_value, store_weights
from edgekit.passes.quantize.placement import Placement

__all__ = ["write_qdq"]

_QUANTIZED_UNASKED = frozenset({"Conv", "ConvTranspose", "Gemm"})


def write_qdq(model: Model, placement: Placement, *, top: int = 127) -> Model:
    """A copy of `model` that rounds where `placement` says.

    Args:
        top: the greatest integer of weights.
    """
    model = model.clone()
    graph = model.graph
    inputs = {}
    for node in [node for node in graph if node.name in placement.layers]:
        value = node.inputs[0]
        assert value is not None
        inputs[node] = placement.values[str(value.name)]
    for value in [*graph.inputs, *(value for node in graph for value in node.outputs)]:
        name = str(value.name)
        if name in placement.values:
            round_value(graph, value, placement.values[name], placement.readers[name], np.uint8)
    for node, params in inputs.items():
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        scale = store_weights(graph, node, bias, params.scale, top)
        if bias is not None:
            _store_bias(graph, node, bias, np.asarray(scale * np.float32(params.scale), np.float32))
    for node in [node for node in graph if node.op_type in _QUANTIZED_UNASKED and node.name not in placement.layers]:
        _shield(graph, node)
    return model


def _shield(graph: ir.Graph, node: ir.Node) -> None:
    """Keep a float layer float that reads what was rounded.

    Between a DequantizeLinear and a QuantizeLinear, ONNX Runtime rounds the weights of such a layer unasked, with one
    scale for all of them; but not where its input has a scale for each channel, even if they are all the same.
    """
    value, weights = node.inputs[:2]
    source = value.producer() if value is not None else None
    if value is None or value.shape is None or source is None or source.op_type != "DequantizeLinear":
        return
    sizes = [(axis, size) for axis, size in enumerate(value.shape) if axis and isinstance(size, int) and size > 1]
    stored, scale, zero = source.inputs
    steps, origin = constant(scale), constant(zero)
    if constant(weights) is None or not sizes or stored is None or steps is None or origin is None:
        return
    (axis, size), name = sizes[0], f"{node.name}/input"
    inputs = [
        stored,
        new_constant(graph, f"{name}/scale", np.full(size, steps)),
        new_constant(graph, f"{name}/zero_point", np.full(size, origin)),
    ]
    restored = new_node(graph, "DequantizeLinear", inputs, name, {"axis": axis})
    restored.outputs[0].dtype, restored.outputs[0].shape = ir.DataType.FLOAT, value.shape
    graph.insert_before(node, restored)
    node.replace_input_with(0, restored.outputs[0])
    if not value.uses() and not value.is_graph_output():
        graph.remove(source, safe=True)


def _store_bias(graph: ir.Graph, node: ir.Node, bias: Array, scale: Array) -> None:
    """int32 and a DequantizeLinear in place of a float bias."""
    value = node.inputs[2]
    assert value is not None
    name = f"{node.name}/bias"
    stored = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
    inputs = [new_constant(graph, f"{name}/int32", stored), new_constant(graph, f"{name}/scale", scale)]
    restored = new_node(graph, "DequantizeLinear", inputs, name, {"axis": 0} if scale.ndim else {})
    restored.outputs[0].dtype, restored.outputs[0].shape = ir.DataType.FLOAT, ir.Shape(bias.shape)
    graph.insert_before(node, restored)
    node.replace_input_with(2, restored.outputs[0])
    if not value.uses() and not value.is_graph_output():
        graph.initializers.pop(value.name or "")
