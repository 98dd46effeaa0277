"""Which layers of a float file stay float32, whatever the plan says: there is nothing narrower for them."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.backends.tflite.recorded import scope_of
from edgekit.core.types import Precision, QuantPlan
from edgekit.formats.tflite import flatbuffer

__all__ = ["with_float_layers"]

_MULTIPLYING = frozenset({"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def with_float_layers(plan: QuantPlan, content: bytes, scopes: Mapping[str, str]) -> QuantPlan:
    """`plan` with fp32 for layers that can't be dynamic or fp16.

    Args:
        plan: the precision of each layer.
        content: the float file.
        scopes: the prefix of tensor names of each layer.
    """
    wanted = dict.fromkeys(scopes, plan.default) | dict(plan.layers)
    floating = [
        layer
        for precision in (Precision.DYNAMIC, Precision.FP16)
        if precision in wanted.values()
        for layer in _left_float(content, scopes, precision)
        if wanted[layer] is precision
    ]
    return QuantPlan(plan.default, (*plan.layers, *((layer, Precision.FP32) for layer in floating)))


def _left_float(content: bytes, scopes: Mapping[str, str], precision: Precision) -> list[str]:
    """The layers that a precision leaves as they are: nothing is stored for them, or they would be slow.

    Dynamic int8: a product of two computed values has no weights, and one with its constant in front has no kernel.
    XNNPACK has none for a depthwise convolution, and what LiteRT runs instead is slow.
    fp16: ai-edge-quantizer stores products of batches of matrices in float32.

    Args:
        content: the float file.
        scopes: the prefix of tensor names of each layer.
        precision: what the other layers get.
    """
    file = flatbuffer.read(content)
    graph = file.subgraphs[0]
    found = []
    for kind, operator in zip(flatbuffer.op_names(file), graph.operators, strict=True):
        if kind not in _MULTIPLYING:
            continue
        stored = [file.buffers[graph.tensors[index].buffer].data for index in operator.inputs[:2]]
        constant = [data is not None and len(data) > 0 for data in stored]
        if {
            Precision.DYNAMIC: kind == "DEPTHWISE_CONV_2D" or not constant[1],
            Precision.FP16: kind == "BATCH_MATMUL" and any(constant),
        }.get(precision):
            parts = graph.tensors[operator.outputs[0]].name.decode().split(";")
            found += [scope for part in parts if (scope := scope_of(part, set(scopes.values()))) is not None]
    return [layer for layer, scope in scopes.items() if scope in found]
