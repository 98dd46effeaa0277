"""Activations, written so that TFLite fuses them into the op before."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, broadcast
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("Relu")
def relu(_node: Node, x: Laid) -> Laid:
    """max(x, 0)."""
    return x.like(tf.nn.relu(x.value))


@lowers("Clip", constants=(1, 2))
def clip(_node: Node, x: Laid, low: Array | None = None, high: Array | None = None) -> Laid:
    """Bounds; (0, 6) and (0, ∞) are the activations that TFLite fuses."""
    bounds = (None if low is None else float(low), None if high is None else float(high))
    if bounds == (0.0, 6.0):
        return x.like(tf.nn.relu6(x.value))
    if bounds == (0.0, None):
        return x.like(tf.nn.relu(x.value))
    value = x.value
    if bounds[1] is not None:
        value = tf.minimum(value, bounds[1])
    if bounds[0] is not None:
        value = tf.maximum(value, bounds[0])
    return x.like(value)


@lowers("LeakyRelu")
def leaky_relu(node: Node, x: Laid) -> Laid:
    """`x` where positive, α·x elsewhere."""
    return x.like(tf.nn.leaky_relu(x.value, alpha=node.number("alpha", 0.01)))


@lowers("PRelu")
def prelu(node: Node, x: Laid, slope: Laid) -> Laid:
    """`x` where positive, slope·x elsewhere; the form that TFLite's converter turns into PRELU."""
    (value, factor), order = broadcast([x, slope])
    return Laid(tf.nn.relu(value) - factor * tf.nn.relu(-value), node.output_shape, order)


@lowers("Elu")
def elu(node: Node, x: Laid) -> Laid:
    """`x` where positive, α·(exp(x) − 1) elsewhere."""
    alpha = node.number("alpha", 1.0)
    if alpha == 1.0:
        return x.like(tf.nn.elu(x.value))
    return x.like(tf.nn.relu(x.value) + alpha * (tf.exp(tf.minimum(x.value, 0.0)) - 1.0))


@lowers("Sigmoid")
def sigmoid(_node: Node, x: Laid) -> Laid:
    """1 / (1 + exp(−x))."""
    return x.like(tf.nn.sigmoid(x.value))


@lowers("Tanh")
def tanh(_node: Node, x: Laid) -> Laid:
    """The hyperbolic tangent."""
    return x.like(tf.nn.tanh(x.value))


@lowers("Softplus")
def softplus(_node: Node, x: Laid) -> Laid:
    """log(1 + exp(x)), in the form that does not overflow and that TFLite has ops for."""
    return x.like(tf.nn.relu(x.value) + tf.math.log(1.0 + tf.exp(-tf.abs(x.value))))


@lowers("Softsign")
def softsign(_node: Node, x: Laid) -> Laid:
    """`x` / (1 + |x|)."""
    return x.like(x.value / (1.0 + tf.abs(x.value)))


@lowers("HardSigmoid")
def hard_sigmoid(node: Node, x: Laid) -> Laid:
    """α·x + β within 0 and 1; the usual α = 1/6, β = 1/2 as relu6(x + 3) / 6."""
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    if abs(alpha * 6 - 1) < 1e-5 and beta == 0.5:
        return x.like(tf.nn.relu6(x.value + 3.0) * (1.0 / 6.0))
    return x.like(tf.minimum(tf.nn.relu(x.value * alpha + beta), 1.0))


@lowers("HardSwish")
def hard_swish(_node: Node, x: Laid) -> Laid:
    """x·relu6(x + 3) / 6; TFLite has an op for it."""
    return x.like(x.value * tf.nn.relu6(x.value + 3.0) * (1.0 / 6.0))


@lowers("Softmax", "LogSoftmax")
def softmax(node: Node, x: Laid) -> Laid:
    """exp(x) / Σ exp(x) along one axis, or its logarithm."""
    source = x.with_all_axes()
    function = tf.nn.softmax if node.op == "Softmax" else tf.nn.log_softmax
    return source.like(function(source.value, axis=source.axis(node.integer("axis", -1))))
