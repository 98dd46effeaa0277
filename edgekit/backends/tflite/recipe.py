"""A QuantPlan as ai-edge-quantizer's recipe: rules by regex over the names of an op's output tensors, the last wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgekit.core.types import Precision, QuantPlan

__all__ = ["apply_plan"]

_EVERYTHING = ".*"
_BYTE = 8
# What LiteRT runs with weights of fewer bits beside int8 activations.
_NARROW = ("CONV_2D", "FULLY_CONNECTED")
# What it runs with weights of 16 bits.
_HALVED = ("CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def apply_plan(
    quantizer: Any,
    plan: QuantPlan,
    *,
    scopes: Mapping[str, str],
    float_tensors: Iterable[str],
    io: str,
    float_ops: Iterable[str] = (),
    whole: Iterable[str] = (),
    weight_bits: int = 8,
) -> None:
    """Write the rules that realise `plan` into an `ai_edge_quantizer.Quantizer`.

    Args:
        plan: the precision of each layer.
        scopes: the prefix of tensor names of each layer.
        float_tensors: results that stay float under int8: the last softmax.
        io: element type of the file's inputs and outputs.
        float_ops: operators that stay float, whatever the plan says.
        whole: results of operators whose int8 weights have one scale for all channels.
        weight_bits: of the weights of convolutions and dense layers in int8.
    """
    _add(quantizer, _EVERYTHING, plan.default)
    if plan.default is Precision.INT8 and weight_bits != _BYTE:
        for op in _NARROW:
            _add(quantizer, _EVERYTHING, Precision.INT8, op, bits=weight_bits)
    if plan.default in (Precision.INT8, Precision.DYNAMIC):
        for tensor in whole:
            _add(quantizer, f"^{re.escape(tensor)};?$", plan.default, weights="TENSORWISE")
    for tensor in float_tensors:
        _add(quantizer, f"^{re.escape(tensor)};?$", Precision.FP32)
    for layer, precision in plan.layers:
        regex = rf"(^|;){re.escape(scopes[layer])}/"
        if precision is Precision.FP16:
            # A rule about every operator leaves those alone that it does not know, and an earlier one then holds.
            _add(quantizer, regex, Precision.FP32)
            for op in _HALVED:
                _add(quantizer, regex, Precision.FP16, op)
        else:
            _add(quantizer, regex, precision)
    for op in float_ops:
        _add(quantizer, _EVERYTHING, Precision.FP32, op)
    if plan.default is Precision.INT8:
        _add_ends(quantizer, io)


def _add(
    quantizer: Any, regex: str, precision: Precision, op: str = "*", *, weights: str = "CHANNELWISE", bits: int = _BYTE
) -> None:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    operation = TFLOperationName(op)
    if precision is Precision.INT8:
        quantizer.add_static_config(regex, operation, _BYTE, bits, weights)
    elif precision is Precision.DYNAMIC:
        quantizer.add_dynamic_config(regex, operation, bits, weights)
    elif precision is Precision.FP16:
        quantizer.add_weight_only_config(regex, operation, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    else:
        quantizer.update_quantization_recipe(regex, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _add_ends(quantizer: Any, io: str) -> None:
    """The file's inputs and outputs: left float, or quantized to `io`."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    ends = (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT)
    if io == "float32":
        for end in ends:
            quantizer.update_quantization_recipe(_EVERYTHING, end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    elif io == "uint8":
        activations = qtyping.TensorQuantizationConfig(num_bits=8, symmetric=False, dtype=qtyping.TensorDataType.UINT)
        weights = qtyping.TensorQuantizationConfig(num_bits=8, granularity=qtyping.QuantGranularity.CHANNELWISE)
        config = qtyping.OpQuantizationConfig(activations, weights, qtyping.ComputePrecision.INTEGER)
        for end in ends:
            quantizer.update_quantization_recipe(_EVERYTHING, end, config)
