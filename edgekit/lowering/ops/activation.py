"""Activations, written so that TFLite fuses them into the op before."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.lowering import curves
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
    bounds = (None if low is None else low.item(), None if high is None else high.item())
    if bounds == (0.0, 6.0) and x.value.dtype.is_floating:
        return x.like(tf.nn.relu6(x.value))
    if bounds == (0.0, None):
        return x.like(tf.nn.relu(x.value))
    value = x.value
    if bounds[0] is not None:
        value = tf.maximum(value, bounds[0])
    if bounds[1] is not None:
        value = tf.minimum(value, bounds[1])
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
    return x.like(curves.elu(x.value, node.number("alpha", 1.0)))


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
    """log(1 + exp(x))."""
    return x.like(curves.softplus(x.value))


@lowers("Softsign")
def softsign(_node: Node, x: Laid) -> Laid:
    """`x` / (1 + |x|)."""
    return x.like(curves.softsign(x.value))


@lowers("HardSigmoid")
def hard_sigmoid(node: Node, x: Laid) -> Laid:
    """α·x + β within 0 and 1."""
    return x.like(curves.hard_sigmoid(x.value, node.number("alpha", 0.2), node.number("beta", 0.5)))


@lowers("HardSwish")
def hard_swish(_node: Node, x: Laid) -> Laid:
    """x·relu6(x + 3) / 6; TFLite has an op for it."""
    return x.like(x.value * tf.nn.relu6(x.value + 3.0) * (1.0 / 6.0))


@lowers("Gelu")
def gelu(node: Node, x: Laid) -> Laid:
    """`x` · Φ(x), or its approximation by tanh; TFLite has an op for both."""
    return x.like(tf.nn.gelu(x.value, approximate=node.text("approximate", "none") == "tanh"))


@lowers("Swish")
def swish(node: Node, x: Laid) -> Laid:
    """`x` · sigmoid(α·x)."""
    alpha = node.number("alpha", 1.0)
    return x.like(x.value * tf.sigmoid(x.value if alpha == 1.0 else x.value * alpha))


@lowers("Mish")
def mish(_node: Node, x: Laid) -> Laid:
    """`x` · tanh(log(1 + e)) = x · e(e + 2) / (e(e + 2) + 2) with e = exp(x); from x = 20 on that is `x`."""
    power = tf.exp(tf.minimum(x.value, 20.0))
    ratio = power * (power + 2.0)
    return x.like(x.value * (ratio / (ratio + 2.0)))


@lowers("Selu")
def selu(node: Node, x: Laid) -> Laid:
    """γ·x where positive, γ·α·(exp(x) − 1) elsewhere."""
    alpha, gamma = node.number("alpha", 1.6732632423543772), node.number("gamma", 1.0507009873554805)
    return x.like(gamma * curves.elu(x.value, alpha))


@lowers("Celu")
def celu(node: Node, x: Laid) -> Laid:
    """max(x, 0) + min(α·(exp(x / α) − 1), 0)."""
    alpha = node.number("alpha", 1.0)
    return x.like(tf.nn.relu(x.value) + alpha * (tf.exp(tf.minimum(x.value, 0.0) / alpha) - 1.0))


@lowers("ThresholdedRelu")
def thresholded_relu(node: Node, x: Laid) -> Laid:
    """`x` where it exceeds α, 0 elsewhere."""
    return x.like(curves.thresholded_relu(x.value, node.number("alpha", 1.0)))


@lowers("Shrink")
def shrink(node: Node, x: Laid) -> Laid:
    """`x` + bias below −λ, x − bias above λ, 0 between."""
    limit, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    zero = tf.zeros_like(x.value)
    below = tf.where(tf.less(x.value, -limit), x.value + bias, zero)
    return x.like(tf.where(tf.greater(x.value, limit), x.value - bias, below))


@lowers("Softmax", "LogSoftmax")
def softmax(node: Node, x: Laid) -> Laid:
    """exp(x) / Σ exp(x) along one axis, or its logarithm."""
    source = x.with_all_axes()
    function = tf.nn.softmax if node.op == "Softmax" else tf.nn.log_softmax
    return source.like(function(source.value, axis=source.axis(node.integer("axis", -1))))
