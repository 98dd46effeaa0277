"""Element-wise arithmetic: unary ops in any order, broadcasting ones in a common order."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.lowering import curves
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, broadcast
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

_UNARY = {
    "Abs": "abs",
    "Ceil": "math.ceil",
    "Cos": "cos",
    "Exp": "exp",
    "Floor": "floor",
    "Log": "math.log",
    "Neg": "negative",
    "Reciprocal": "math.reciprocal",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sqrt": "sqrt",
}
# TFLite has no op for these.
_COMPOSED = {
    "Acos": curves.acos,
    "Acosh": curves.acosh,
    "Asin": curves.asin,
    "Asinh": curves.asinh,
    "Atan": curves.atan,
    "Atanh": curves.atanh,
    "Cosh": curves.cosh,
    "Erf": curves.erf,
    "Sinh": curves.sinh,
    "Tan": curves.tan,
}
_BINARY = {
    "Add": "add",
    "Max": "maximum",
    "Min": "minimum",
    "Mul": "multiply",
    "Sub": "subtract",
}


@lowers(*_UNARY)
def unary(node: Node, x: Laid) -> Laid:
    """TFLite's op of that name."""
    return x.like(_function(_UNARY[node.op])(x.value))


@lowers(*_COMPOSED)
def composed(node: Node, x: Laid) -> Laid:
    """Several TFLite ops: there is none of that name."""
    return x.like(_COMPOSED[node.op](x.value))


@lowers(*_BINARY)
def binary(node: Node, *operands: Laid) -> Laid:
    """TFLite's op of that name, with numpy's broadcasting; Max and Min take any number of tensors."""
    values, order = broadcast(operands)
    return Laid(reduce(_function(_BINARY[node.op]), values), node.output_shape, order)


@lowers("Div")
def divide(node: Node, a: Laid, b: Laid) -> Laid:
    """The quotient; that of whole numbers is rounded towards zero."""
    (left, right), order = broadcast([a, b])
    return Laid(left / right if left.dtype.is_floating else tf.raw_ops.Div(x=left, y=right), node.output_shape, order)


@lowers("Pow")
def power(node: Node, a: Laid, b: Laid) -> Laid:
    """The power, in the type of the base."""
    (base, exponent), order = broadcast([a, b])
    if base.dtype.is_floating:
        return Laid(tf.pow(base, tf.cast(exponent, base.dtype)), node.output_shape, order)
    # TFLite knows POW of floats and of int32 only.
    whole = tf.pow(tf.cast(base, tf.int32), tf.cast(exponent, tf.int32))
    return Laid(tf.cast(whole, base.dtype), node.output_shape, order)


@lowers("Mod")
def modulo(node: Node, a: Laid, b: Laid) -> Laid:
    """The remainder, with the sign of the divisor, or with that of the dividend (`fmod`)."""
    (left, right), order = broadcast([a, b])
    if not node.integer("fmod"):
        return Laid(tf.math.floormod(left, right), node.output_shape, order)
    rest = tf.math.floormod(tf.maximum(left, -left), tf.maximum(right, -right))  # TFLite has no ABS of int64
    return Laid(tf.where(tf.less(left, tf.zeros_like(left)), -rest, rest), node.output_shape, order)


@lowers("Sum", "Mean")
def variadic(node: Node, *operands: Laid) -> Laid:
    """The sum or the mean of any number of tensors."""
    values, order = broadcast(operands)
    total = reduce(tf.add, values)
    return Laid(total if node.op == "Sum" else total / len(operands), node.output_shape, order)


def _refuse_training(node: Node) -> str | None:
    training = node.constant(2)
    if node.has(2) and (training is None or training.any()):
        return f"Export the network for inference: {node.name!r} drops values at random."
    return f"Export {node.name!r} without its mask." if node.reads_output(1) else None


@lowers("Dropout", constants=(1, 2), refuse=_refuse_training)
def dropout(_node: Node, x: Laid, *_unused: np.ndarray[Any, Any] | None) -> Laid:
    """Nothing at inference."""
    return x


@lowers("Identity")
def identity(_node: Node, x: Laid) -> Laid:
    """Nothing."""
    return x


def _refuse_cast(node: Node) -> str | None:
    wanted = ir.DataType(node.integer("to"))
    return None if wanted.name in _TYPES else f"Remove the Cast to {wanted.name} {node.name!r} from the source network."


_TYPES = {"BOOL", "FLOAT", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32"}


@lowers("Cast", refuse=_refuse_cast)
def cast(node: Node, x: Laid) -> Laid:
    """A change of element type."""
    return x.like(tf.cast(x.value, ir.DataType(node.integer("to")).numpy()))


@lowers("CastLike")
def cast_like(_node: Node, x: Laid, target: Laid) -> Laid:
    """A change to the element type of another tensor."""
    return x.like(tf.cast(x.value, target.value.dtype))


def _function(path: str) -> Any:
    return reduce(getattr, path.split("."), tf)
