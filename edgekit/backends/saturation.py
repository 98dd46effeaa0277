"""Int8 on CPUs without VNNI (x86 before Ice Lake): they add pairs of products in 16 bits and cut off what does not fit.

Weights of half the range can't overflow there. Those of a source that is quantized already are what they are.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.quantization import REARRANGING

__all__ = ["HALF_RANGE", "spare_first_layers"]

# The greatest integer of weights: 2 · 63 · 255 fits in 16 bits.
HALF_RANGE = 63


def spare_first_layers(plan: QuantPlan, source: Model) -> QuantPlan:
    """The plan, with the convolutions that read the network's inputs in fp32, unless no other layer would be int8.

    Inputs use their whole range, and so overflow: ResNet-8 on CIFAR images falls from 75 to 61 % with its first layer
    in int8, and keeps 75 % without. Half a range for these weights would round the source's integers again.
    """
    linear = [node for node in source.graph if node.op_type in {"Conv", "Gemm", "MatMul"}]
    first = [node.name or "" for node in linear if node.op_type == "Conv" and _reads_input(node.inputs[0])]
    named = {layer for layer, _ in plan.layers}
    if {node.name for node in linear} <= {*first, *named}:
        return plan
    return replace(plan, layers=(*plan.layers, *((layer, Precision.FP32) for layer in first if layer not in named)))


def _reads_input(value: ir.Value | None) -> bool:
    """Whether a value is an input of the network, in whatever shape, with or without a border of zeros."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in {*REARRANGING, "Pad"}:
            return False
        value = node.inputs[0]
    return value is not None and value.is_graph_input()
