"""Activation curves as TensorFlow spells them best for TFLite: fused into the op before, or from few builtin ops."""

from __future__ import annotations

from typing import Any

from edgekit.lowering import lazy_tf as tf

__all__ = [
    "affine", "elu", "hard_sigmoid", "leaky_relu", "relu", "scaled_tanh", "sigmoid", "softplus", "softsign", "tanh",
    "thresholded_relu",
]  # fmt: skip


def affine(x: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """α·x + β."""
    return alpha * x + beta


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where positive, α·(exp(x) − 1) elsewhere."""
    return tf.nn.elu(x) if alpha == 1.0 else tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)


def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """α·x + β within 0 and 1; the usual α = 1/6, β = 1/2 as relu6(x + 3) / 6."""
    if abs(alpha * 6 - 1) < 1e-5 and beta == 0.5:
        return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
    return tf.minimum(tf.nn.relu(x * alpha + beta), 1.0)


def leaky_relu(x: Any, alpha: float = 0.01) -> Any:
    """`x` where positive, α·x elsewhere."""
    return tf.nn.leaky_relu(x, alpha)


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return tf.nn.relu(x)


def scaled_tanh(x: Any, alpha: float = 1.0, beta: float = 1.0) -> Any:
    """α·tanh(β·x)."""
    return alpha * tf.nn.tanh(beta * x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(−x))."""
    return tf.nn.sigmoid(x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), in the form that does not overflow and that TFLite has ops for."""
    return tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(-tf.abs(x)))


def softsign(x: Any) -> Any:
    """`x` / (1 + |x|)."""
    return x / (1.0 + tf.abs(x))


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return tf.nn.tanh(x)


def thresholded_relu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where it exceeds α, 0 elsewhere."""
    return tf.where(tf.greater(x, alpha), x, tf.zeros_like(x))
