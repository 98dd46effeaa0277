"""Element-wise arithmetic: unary ops in any order, broadcasting ones in a common order."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

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
_BINARY = {
    "Add": "add",
    "Div": "divide",
    "Max": "maximum",
    "Min": "minimum",
    "Mul": "multiply",
    "Pow": "pow",
    "Sub": "subtract",
}


@lowers(*_UNARY)
def unary(node: Node, x: Laid) -> Laid:
    """One tensor in, the same shape out."""
    return x.like(_function(_UNARY[node.op])(x.value))


@lowers(*_BINARY)
def binary(node: Node, *operands: Laid) -> Laid:
    """Two tensors (Max and Min: any number) with numpy's broadcasting."""
    values, order = broadcast(operands)
    return Laid(reduce(_function(_BINARY[node.op]), values), node.output_shape, order)


@lowers("Sum", "Mean")
def variadic(node: Node, *operands: Laid) -> Laid:
    """The sum or the mean of any number of tensors."""
    values, order = broadcast(operands)
    total = reduce(tf.add, values)
    return Laid(total if node.op == "Sum" else total / len(operands), node.output_shape, order)


@lowers("Identity", "Dropout")
def identity(_node: Node, x: Laid) -> Laid:
    """Nothing at inference."""
    return x


def _refuse_cast(node: Node) -> str | None:
    return None if node.integer("to") in _CASTS else f"Remove the Cast {node.name!r} from the source network."


_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_}


@lowers("Cast", refuse=_refuse_cast)
def cast(node: Node, x: Laid) -> Laid:
    """A change of element type."""
    return x.like(tf.cast(x.value, _CASTS[node.integer("to")]))


def _function(path: str) -> Any:
    return reduce(getattr, path.split("."), tf)
