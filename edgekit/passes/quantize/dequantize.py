"""A quantized network as the float network that it stands for; how it stores its values is kept as metadata."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams, quant_params, set_quant_params
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import Array, bypass, new_constant, unique_node_name
from edgekit.passes.quantize.nodes import QDQ, check_qdq, dequantized, params_of

__all__ = ["Dequantize"]

_ANY_SIGN = frozenset(
    {"Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Sub"}
)  # fmt: skip


class Dequantize(Pass):
    """Takes every QuantizeLinear and DequantizeLinear out; integer weights × scale become float weights.

    What a QuantizeLinear cuts off below zero stays cut off: quantizers leave a ReLU out where the range does its work.
    The float network does not round, so its answers differ from the quantized one's.
    """

    name = "dequantize"
    keeps_function = False

    def requires(self, model: Model) -> None:
        """Raise for scales that are computed, blocked, or not of 8 bits."""
        for node in model.graph:
            if node.op_type in QDQ:
                check_qdq(node)

    def call(self, model: Model) -> PassResult:
        """Weights first; then each value learns how it was stored, from its first reader that rounds it."""
        graph = model.graph
        nodes = [node for node in graph if node.op_type in QDQ]
        for node in nodes:
            if (weights := dequantized(node)) is not None:
                _replace_by_constant(graph, node, weights)
        said = {node: params_of(node) for node in nodes if node.graph is not None}
        for node, params in said.items():
            _take_out(graph, node, params)
        for value in (value for node in graph for value in node.outputs):
            if value.dtype in {ir.DataType.INT8, ir.DataType.UINT8}:
                value.type = ir.TensorType(ir.DataType.FLOAT)  # a clone shares the type itself
        RemoveUnusedNodesPass()(model.proto)
        return PassResult(model, len(nodes))


def _replace_by_constant(graph: ir.Graph, node: ir.Node, weights: Array) -> None:
    stored = node.inputs[0]
    assert stored is not None
    content = new_constant(graph, f"{stored.name}/float", weights)
    node.outputs[0].replace_all_uses_with(content)
    graph.remove(node, safe=True)


def _take_out(graph: ir.Graph, node: ir.Node, params: QuantParams) -> None:
    """Whoever read what the node gave reads what it took."""
    source = node.inputs[0]
    assert source is not None
    if node.op_type == "QuantizeLinear":
        source = _cut_off(graph, source, params)
    if quant_params(source) is None:
        set_quant_params(source, params)
    if not bypass(node, source):
        _hand_on(node, source)


def _cut_off(graph: ir.Graph, value: ir.Value, params: QuantParams) -> ir.Value:
    """`value` itself, or a Relu of it where storing it cuts off what is below zero."""
    producer = value.producer()
    if params.zero_point != -128 or producer is None or producer.op_type not in _ANY_SIGN or quant_params(value):
        return value
    relu = ir.node("Relu", [value], name=unique_node_name(graph, f"{producer.name}/Relu"))
    output = relu.outputs[0]
    output.name, output.dtype, output.shape = f"{value.name}/Relu", ir.DataType.FLOAT, value.shape
    for use in list(value.uses()):
        if use.node is not relu and use.node.op_type == "QuantizeLinear":
            use.node.replace_input_with(use.idx, output)
    graph.insert_after(producer, relu)
    return output


def _hand_on(node: ir.Node, source: ir.Value) -> None:
    """A network that is nothing but a rounded input keeps a node between input and output."""
    node.op_type = "Identity"
    node.resize_inputs(1)
    node.attributes.clear()
    node.outputs[0].type = source.type
