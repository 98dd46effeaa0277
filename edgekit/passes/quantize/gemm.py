"""MatMul and Add as one Gemm: a bias beside the weights is what integer kernels take, and a sum behind them is not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.fuse.rewiring import Array, constant, feeds_only, new_constant, unique_node_name

__all__ = ["gemm_form"]


def gemm_form(model: Model) -> Model:
    """A copy of `model` with a Gemm in place of each product with constant weights and the bias that is added to it.

    It is called as the product was. More axes than two are rows for it.
    """
    model = model.clone()
    for node in [node for node in model.graph if node.op_type == "MatMul"]:
        weights, shape = constant(node.inputs[1]), node.inputs[0].shape if node.inputs[0] is not None else None
        uses = list(node.outputs[0].uses())
        if weights is None or weights.ndim != 2 or shape is None or len(uses) != 1:
            continue
        add = uses[0].node
        bias = constant(add.inputs[1 - uses[0].idx]) if add.op_type == "Add" else None
        alone = bias is not None and bias.shape[-1:] == weights.shape[1:] == (bias.size,)
        if bias is not None and alone and feeds_only(node.outputs[0], add):
            _merge(model.graph, node, add, bias.reshape(-1), shape)
    return model


def _merge(graph: ir.Graph, node: ir.Node, add: ir.Node, bias: Array, shape: ir.Shape) -> None:
    inner = [size for size in shape[1:-1] if isinstance(size, int)]
    if len(shape) < 2 or len(inner) != len(shape) - 2 or not isinstance(shape[-1], int):
        return
    name, columns, data, weights = node.name, len(bias), *node.inputs
    beside = new_constant(graph, f"{name}/bias", bias)
    if len(shape) == 2:
        add.op_type = "Gemm"
        add.resize_inputs(3)
        for place, value in enumerate((data, weights, beside)):
            add.replace_input_with(place, value)
        graph.remove(node, safe=True)
        add.name = name
        return
    node.op_type = "Gemm"
    node.resize_inputs(3)
    node.replace_input_with(2, beside)
    add.op_type = "Reshape"
    add.replace_input_with(0, node.outputs[0])
    add.replace_input_with(1, new_constant(graph, f"{name}/shape", np.array([-1, *inner, columns])))
    rows = ir.node(
        "Reshape",
        [data, new_constant(graph, f"{name}/rows", np.array([-1, shape[-1]]))],
        name=unique_node_name(graph, f"{name}/Reshape"),
    )
    rows.outputs[0].name, rows.outputs[0].dtype = f"{name}/rows:0", ir.DataType.FLOAT
    rows.outputs[0].shape, node.outputs[0].shape = ir.Shape([None, shape[-1]]), ir.Shape([None, columns])
    graph.insert_before(node, rows)
    node.replace_input_with(0, rows.outputs[0])
