"""int8 with scales that are recorded, a quantized source's or our own, in place of what NNCF would find."""

from __future__ import annotations

import io

import numpy as np
import onnx_ir as ir

from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams, made_for, recorded_params
from edgekit.passes.quantize import Placement, insert_qdq, place, round_value, store_weights
from edgekit.passes.quantize.placement import MOVING

__all__ = ["quantized_form"]

# Of a value that nothing is recorded for, and that stays float: it cuts nothing off.
_ANY = QuantParams(float("inf"), 0)


def quantized_form(source: Model, plan: QuantPlan) -> io.BytesIO:
    """The network with QuantizeLinear and DequantizeLinear, as an ONNX file: where the source rounds, or where it pays.

    Args:
        source: with scales recorded.
        plan: int8; its other layers compute in float.
    """
    top = made_for(source)
    if top is None:
        kept = {layer for layer, precision in plan.layers if precision is not Precision.INT8}
        model = insert_qdq(source, recorded_params(source), kept)
    else:
        model = _placed(source, plan, top)
    return io.BytesIO(ir.to_proto(model.proto).SerializeToString())


def _placed(source: Model, plan: QuantPlan, top: int) -> Model:
    recorded = recorded_params(source)
    placement = place(source, plan, lambda name: recorded.get(name, _ANY), floats=True)
    model = source.clone()
    moved = {value for node in model.graph for value in node.outputs if _is_moved(node, placement)}
    for value in [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]:
        name = str(value.name)
        if name in placement.values and name in recorded and value not in moved:
            round_value(model.graph, value, placement.values[name], placement.readers[name], np.int8)
    for node in [node for node in model.graph if node.name in placement.layers]:
        store_weights(model.graph, node, top=top)
    return model


def _is_moved(node: ir.Node, placement: Placement) -> bool:
    """Whether what a node makes are numbers that are rounded to the same integers before."""
    if node.op_type not in MOVING:
        return False
    before, after = (
        placement.values.get(str(value.name)) if value else None for value in (node.inputs[0], node.outputs[0])
    )
    return before is not None and before == after
