"""What a QuantizeLinear or DequantizeLinear says, and which of them edgekit can follow: static, affine, 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import UnsupportedOpError
from edgekit.ir.quantization import QuantParams
from edgekit.passes.fuse.rewiring import constant

__all__ = ["QDQ", "check_qdq", "dequantized", "params_of"]

QDQ = frozenset({"DequantizeLinear", "QuantizeLinear"})
_8BIT = {ir.DataType.INT8: 0, ir.DataType.UINT8: 128}


def check_qdq(node: ir.Node) -> None:
    """Check a node of either kind.

    Raises:
        UnsupportedOpError: computed or blocked scales, activations of another width than 8 bits, or activations with
            a scale for each channel; names layer and operator.
    """
    scale = constant(node.inputs[1])
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if scale is None or (zero is not None and constant(zero) is None):
        raise _error(node, "has a scale that is computed from the input (dynamic quantization)")
    if node.attributes.get_int("block_size", 0):
        raise _error(node, "has a scale for each block of values")
    if node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is not None:
        return
    kind = _integer(node)
    if kind not in _8BIT:
        raise _error(node, f"stores activations as {str(kind).lower()}, and edgekit takes int8 and uint8")
    if scale.size != 1:
        raise _error(node, "stores activations with a scale for each channel")


def params_of(node: ir.Node) -> QuantParams:
    """The parameters of a node for an activation that `check_qdq` let pass; uint8 is moved to int8."""
    scale, zero = constant(node.inputs[1]), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    assert scale is not None
    kind = _integer(node)
    assert kind is not None
    return QuantParams(float(scale.ravel()[0]), int(zero.ravel()[0] if zero is not None else 0) - _8BIT[kind])


def dequantized(node: ir.Node) -> np.ndarray[Any, Any] | None:
    """What a DequantizeLinear of a constant gives, float32; None if it reads no constant."""
    stored = constant(node.inputs[0])
    if node.op_type != "DequantizeLinear" or stored is None:
        return None
    scale, zero = constant(node.inputs[1]), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    assert scale is not None
    axis = node.attributes.get_int("axis", 1)
    wide = [-1 if scale.ndim == 1 and at == axis % stored.ndim else 1 for at in range(stored.ndim)]
    integers = stored.astype(np.int64) - (zero.astype(np.int64).reshape(wide) if zero is not None else 0)
    return np.asarray(integers.astype(np.float32) * scale.astype(np.float32).reshape(wide), np.float32)


def _integer(node: ir.Node) -> ir.DataType | None:
    """The integer type on the node's quantized side."""
    value = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None and zero.const_value is not None:
        return ir.DataType(zero.const_value.dtype)
    if value is not None and value.dtype is not None:
        return value.dtype
    return ir.DataType(node.attributes.get_int("output_dtype", ir.DataType.UINT8))


def _error(node: ir.Node, why: str) -> UnsupportedOpError:
    return UnsupportedOpError(
        f"the layer {node.name!r} ({node.op_type}) {why}",
        blame="your model",
        remedy="Give the float32 model that it was made from: edgekit makes the small precisions itself.",
    )
