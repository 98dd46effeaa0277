"""A float network in dynamic int8, as an ONNX graph: DynamicQuantizeLinear and MatMulInteger in place of products.

int8 weights symmetric with a scale for each column. What they meet comes in float, and is rounded to uint8 with one
scale, which is found anew at each inference. Convolutions stay float: ONNX Runtime's ConvInteger is slower than Conv.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.passes.fuse.rewiring import constant, new_constant
from edgekit.passes.quantize.insert import channel_axis, new_node
from edgekit.passes.quantize.placement import has_weights
from edgekit.passes.quantize.weights import weight_scale

__all__ = ["dynamic_layers", "write_dynamic"]


def dynamic_layers(model: Model, plan: QuantPlan) -> frozenset[str]:
    """The layers that are dynamic under `plan`: of those that it wants so, the products with weights of two axes."""
    named = dict(plan.layers)
    return frozenset(
        str(node.name)
        for node in model.graph
        if node.op_type in {"Gemm", "MatMul"}
        and has_weights(node)
        and named.get(str(node.name), plan.default) is Precision.DYNAMIC
    )


def write_dynamic(model: Model, layers: Collection[str], *, top: int = 127) -> Model:
    """A copy of `model` with `layers`, which `dynamic_layers` found, in dynamic int8.

    Args:
        top: the greatest integer of weights.
    """
    model = model.clone()
    rounded: dict[ir.Value, Sequence[ir.Value]] = {}
    for node in [node for node in model.graph if node.name in layers]:
        data = node.inputs[0]
        assert data is not None
        if data not in rounded:
            rounding = ir.node("DynamicQuantizeLinear", [data], name=f"{node.name}/rounded", num_outputs=3)
            model.graph.insert_before(node, rounding)
            rounded[data] = rounding.outputs
        _write_product(model.graph, node, *rounded[data], top=top)
    return model


def _write_product(
    graph: ir.Graph, node: ir.Node, data: ir.Value, step: ir.Value, zero_point: ir.Value, *, top: int
) -> None:
    """In the very form that ONNX Runtime fuses into one kernel, which bears the name of the MatMulInteger."""
    layer, weights = str(node.name), constant(node.inputs[1])
    assert weights is not None
    weights = weights if channel_axis(node, weights.ndim) else weights.T
    scale = weight_scale(weights, 1, top)
    integers = np.clip(np.rint(weights / scale), -top, top).astype(np.int8)
    stored = new_constant(graph, f"{layer}/weights/int8", integers)
    steps = new_constant(graph, f"{layer}/weights/scale", scale)
    zeros = new_constant(graph, f"{layer}/weights/zero_point", np.zeros((), np.int8))

    def make(op: str, *inputs: ir.Value, part: str, **attributes: int) -> ir.Value:
        nodes.append(new_node(graph, op, list(inputs), f"{layer}/{part}", attributes))
        return nodes[-1].outputs[0]

    nodes: list[ir.Node] = []
    sums = make("MatMulInteger", data, stored, zero_point, zeros, part="sums")
    floats = make("Cast", sums, part="float", to=int(ir.DataType.FLOAT))
    result = make("Mul", floats, make("Mul", step, steps, part="scale"), part="scaled")
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        result = make("Add", result, node.inputs[2], part="biased")
    unread = node.inputs[1]
    ir.convenience.replace_nodes_and_values(graph, node, [node], nodes, [node.outputs[0]], [result])
    nodes[0].name = layer
    if unread is not None and not unread.uses() and not unread.is_graph_output():
        graph.initializers.pop(unread.name or "")
