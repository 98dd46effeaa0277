"""What needs no input is computed once, and what has no effect is taken out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

__all__ = ["clean"]

# A constant may not outgrow this by folding (a Tile or an Expand of a few bytes could make gigabytes).
_LIMIT = 1 << 26


def clean(model: ir.Model) -> None:
    """Fold constants into initializers, drop Identity, Dropout and dead nodes, and compute in float32 throughout."""
    from onnxscript.optimizer import fold_constants_ir

    outputs = [value.name for value in model.graph.outputs]
    lift = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    for _ in range(2):
        fold_constants_ir(
            model,
            onnx_shape_inference=True,
            input_size_limit=_LIMIT,
            output_size_limit=_LIMIT,
            should_fold=_is_made_of_a_shape,
        )
        lift(model)
        common.IdentityEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
    _part_outputs(model.graph, outputs)
    common.RemoveUnusedOpsetsPass()(model)
    common.ClearMetadataAndDocStringPass()(model)
    _to_float32(model.graph)


def _is_made_of_a_shape(node: ir.Node) -> bool | None:
    """A tensor of one figure, which the folder leaves by default: exporters compute shapes with it."""
    return True if node.op_type == "ConstantOfShape" and not node.domain else None


def _part_outputs(graph: ir.Graph, names: Sequence[str | None]) -> None:
    """Give an output its name and an Identity back where taking the Identity out made it one with another output.

    A recurrent cell often gives its state twice: as what it answers, and as what goes into the next step.
    """
    for index, (value, name) in enumerate(zip(list(graph.outputs), names, strict=True)):
        if value.name != name:
            graph.append(ir.node("Identity", [value], outputs=[ir.val(name, value.dtype, value.shape)]))
            graph.outputs[index] = graph[-1].outputs[0]


def _to_float32(graph: ir.Graph) -> None:
    """Double precision becomes single wherever a graph states it: weights, values, casts, constants in attributes."""
    for weight in list(graph.initializers.values()):
        if weight.dtype == ir.DataType.DOUBLE and weight.const_value is not None:
            weight.const_value = ir.tensor(weight.const_value.numpy().astype(np.float32), name=weight.name)
    for value in (*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)):
        if value.dtype == ir.DataType.DOUBLE:
            value.dtype = ir.DataType.FLOAT
    for node in graph:
        for attribute in list(node.attributes.values()):
            if attribute.type == ir.AttributeType.INT and attribute.name in ("to", "dtype"):
                if attribute.as_int() == ir.DataType.DOUBLE:
                    node.attributes[attribute.name] = ir.AttrInt64(attribute.name, ir.DataType.FLOAT)
            elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == ir.DataType.DOUBLE:
                single = ir.tensor(attribute.as_tensor().numpy().astype(np.float32))
                node.attributes[attribute.name] = ir.AttrTensor(attribute.name, single)
