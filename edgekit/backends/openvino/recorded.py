"""int8 as a quantized source has it: its own scales and integers, in place of what NNCF would find."""

from __future__ import annotations

import io

import onnx_ir as ir

from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.quantization import made_for, recorded_params
from edgekit.passes.quantize import insert_qdq

__all__ = ["quantized_form"]


def quantized_form(source: Model, plan: QuantPlan) -> io.BytesIO:
    """The network with QuantizeLinear and DequantizeLinear where the source rounds, as an ONNX file.

    Args:
        source: with the source's scales recorded.
        plan: int8; its other layers compute in float.
    """
    kept = {layer for layer, precision in plan.layers if precision is not Precision.INT8}
    return io.BytesIO(
        ir.to_proto(
            insert_qdq(source, recorded_params(source), kept, top=made_for(source) or 127).proto
        ).SerializeToString()
    )
