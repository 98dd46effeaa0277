"""BatchNormalization on features: some exporters know it on images only, and wrap a pair of Reshapes around it."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.passes.normalise.shapes import Shapes

__all__ = ["unwrap_batch_norm"]


def unwrap_batch_norm(graph: ir.Graph, shapes: Shapes) -> None:
    """Where Reshapes make (n, c) into (n, c, 1, 1) and back around a BatchNormalization, leave it alone on (n, c)."""
    for norm in list(graph):
        if norm.op_type != "BatchNormalization":
            continue
        before, after = _neighbours(norm)
        if before is None or after is None:
            continue
        source, target = before.inputs[0], after.outputs[0]
        assert source is not None
        if len(shapes[source.name or ""]) == 2 and shapes[source.name or ""] == shapes[target.name or ""]:
            norm.replace_input_with(0, source)
            _take_over(norm.outputs[0], after, graph)
            if not before.outputs[0].uses():
                graph.remove(before, safe=True)


def _neighbours(norm: ir.Node) -> tuple[ir.Node | None, ir.Node | None]:
    """The Reshape before and the only one after."""
    assert norm.inputs[0] is not None
    before, uses = norm.inputs[0].producer(), list(norm.outputs[0].uses())
    after = uses[0].node if len(uses) == 1 and not norm.outputs[0].is_graph_output() else None
    return _if_reshape(before), _if_reshape(after)


def _if_reshape(node: ir.Node | None) -> ir.Node | None:
    return node if node is not None and node.op_type == "Reshape" else None


def _take_over(value: ir.Value, node: ir.Node, graph: ir.Graph) -> None:
    """`value` takes the place and the name of what `node` gives; `node` goes."""
    name = node.outputs[0].name
    node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    value.name = name
