"""Integer inputs and outputs of a quantized network become float: it rounds its inputs itself."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.ir.quantization import REARRANGING, QuantParams
from edgekit.passes.fuse.rewiring import unique_node_name
from edgekit.passes.quantize.nodes import QDQ, params_of

__all__ = ["float_ends"]


def float_ends(model: Model) -> dict[str, QuantParams]:
    """Put a QuantizeLinear behind each quantized input of `model`, a DequantizeLinear before each quantized output.

    An integer input that is no quantized number, like an index into an embedding, stays what it is.

    Args:
        model: changed in place.

    Returns:
        How the ends are rounded, by name, those that were float included.
    """
    ends: dict[str, QuantParams] = {}
    graph = model.graph
    for value in list(graph.inputs):
        if (node := _first_reader(value)) is not None:
            ends[value.name or ""] = params_of(node)
            if node.op_type == "DequantizeLinear":
                _open_input(graph, value, node)
    for value in list(graph.outputs):
        if (node := _writer(value)) is not None:
            ends[value.name or ""] = params_of(node)
            if node.op_type == "QuantizeLinear":
                _open_output(graph, value, node)
    return ends


def _first_reader(value: ir.Value) -> ir.Node | None:
    """The node that rounds an input, or restores it, unchanged but for its shape; None where there is none."""
    for use in value.uses():
        if use.node.op_type in QDQ and use.idx == 0:
            return use.node
        if use.node.op_type in REARRANGING and (found := _first_reader(use.node.outputs[0])) is not None:
            return found
    return None


def _writer(value: ir.Value) -> ir.Node | None:
    """The node that rounds an output, or restores it; None where there is none."""
    node = value.producer()
    if node is None or node.op_type in QDQ:
        return node
    return _writer(node.inputs[0]) if node.op_type in REARRANGING and node.inputs[0] is not None else None


def _open_input(graph: ir.Graph, value: ir.Value, like: ir.Node) -> None:
    name = value.name
    opened = ir.val(name, dtype=ir.DataType.FLOAT, shape=value.shape, metadata_props=dict(value.metadata_props))
    node = ir.node(
        "QuantizeLinear",
        [opened, *like.inputs[1:]],
        name=unique_node_name(graph, f"{name}/QuantizeLinear"),
    )
    stored = node.outputs[0]
    stored.type, stored.shape = value.type, value.shape
    value.replace_all_uses_with(stored)
    graph.inputs[graph.inputs.index(value)] = opened
    stored.name = f"{name}/quantized"
    graph.insert_before(graph[0], node)


def _open_output(graph: ir.Graph, value: ir.Value, like: ir.Node) -> None:
    name = value.name
    node = ir.node(
        "DequantizeLinear",
        [value, *like.inputs[1:]],
        name=unique_node_name(graph, f"{name}/DequantizeLinear"),
    )
    opened = node.outputs[0]
    opened.dtype, opened.shape = ir.DataType.FLOAT, value.shape
    opened.metadata_props.update(value.metadata_props)
    graph.append(node)
    graph.outputs[graph.outputs.index(value)] = opened
    value.name, opened.name = f"{name}/quantized", name
