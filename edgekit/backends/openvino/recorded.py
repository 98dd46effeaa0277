"""int8 as a quantized source has it: its own scales and integers, in place of what NNCF would find."""

from __future__ import annotations

import io
from dataclasses import replace

import onnx_ir as ir

from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.quantization import REARRANGING, recorded_params
from edgekit.passes.quantize import insert_qdq

__all__ = ["plan_of", "quantized_form"]


def plan_of(plan: QuantPlan, source: Model) -> QuantPlan:
    """The plan, with the convolutions that read the network's inputs in fp32, unless no other layer would be int8.

    CPUs without VNNI (before Ice Lake) add pairs of products in 16 bits and cut off what does not fit. Inputs use
    their whole range, and so overflow there: ResNet-8 on CIFAR images falls from 75 to 61 % with its first layer in
    int8, and keeps 75 % without. NNCF's own remedy, half a range for these weights, would round the source's integers.
    """
    linear = [node for node in source.graph if node.op_type in {"Conv", "Gemm", "MatMul"}]
    first = [node.name or "" for node in linear if node.op_type == "Conv" and _reads_input(node.inputs[0])]
    named = {layer for layer, _ in plan.layers}
    if {node.name for node in linear} <= {*first, *named}:
        return plan
    return replace(plan, layers=(*plan.layers, *((layer, Precision.FP32) for layer in first if layer not in named)))


def quantized_form(source: Model, plan: QuantPlan) -> io.BytesIO:
    """The network with QuantizeLinear and DequantizeLinear where the source rounds, as an ONNX file.

    Args:
        source: with the source's scales recorded.
        plan: int8; its other layers compute in float.
    """
    kept = {layer for layer, precision in plan.layers if precision is not Precision.INT8}
    return io.BytesIO(ir.to_proto(insert_qdq(source, recorded_params(source), kept).proto).SerializeToString())


def _reads_input(value: ir.Value | None) -> bool:
    """Whether a value is an input of the network, in whatever shape, with or without a border of zeros."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in {*REARRANGING, "Pad"}:
            return False
        value = node.inputs[0]
    return value is not None and value.is_graph_input()
