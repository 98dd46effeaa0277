"""Comparisons, boolean ops and Where, in the common order of their operands."""

from __future__ import annotations

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, broadcast
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

_BINARY = {
    "And": "logical_and",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Or": "logical_or",
    "Xor": "not_equal",
}


@lowers(*_BINARY)
def compare(node: Node, a: Laid, b: Laid) -> Laid:
    """TFLite's op of that name (Xor: NOT_EQUAL), with numpy's broadcasting."""
    (left, right), order = broadcast([a, b])
    return Laid(getattr(tf, _BINARY[node.op])(left, right), node.output_shape, order)


@lowers("Not")
def not_(_node: Node, x: Laid) -> Laid:
    """The other truth value."""
    return x.like(tf.logical_not(x.value))


@lowers("IsNaN")
def is_nan(_node: Node, x: Laid) -> Laid:
    """Whether a number is none."""
    return x.like(tf.not_equal(x.value, x.value))


@lowers("IsInf")
def is_inf(node: Node, x: Laid) -> Laid:
    """Whether a number is infinite, in the directions that are asked for."""
    up, down = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    if not up and not down:
        return x.like(tf.zeros_like(x.value, tf.bool))
    value = tf.abs(x.value) if up and down else x.value if up else -x.value
    # The converter reads a constant infinity as the largest number.
    return x.like(tf.greater(value, float(np.finfo(np.float32).max)))


@lowers("Where")
def where(node: Node, condition: Laid, a: Laid, b: Laid) -> Laid:
    """`a` where the condition holds, `b` elsewhere."""
    values, order = broadcast([condition, a, b])
    return Laid(tf.where(*values), node.output_shape, order)
