"""Activation curves as TensorFlow spells them best for TFLite: fused into the op before, or from few builtin ops."""

from __future__ import annotations

from typing import Any

from edgekit.lowering import lazy_tf as tf

__all__ = [
    "acos", "acosh", "affine", "asin", "asinh", "atan", "atanh", "cosh", "elu", "erf", "hard_sigmoid", "leaky_relu",
    "relu", "scaled_tanh", "sigmoid", "sinh", "softplus", "softsign", "tan", "tanh", "thresholded_relu",
]  # fmt: skip


def acos(x: Any) -> Any:
    """The arc cosine."""
    return tf.math.atan2(tf.sqrt((1.0 - x) * (1.0 + x)), x)


def acosh(x: Any) -> Any:
    """The inverse hyperbolic cosine."""
    return tf.math.log(x + tf.sqrt((x - 1.0) * (x + 1.0)))


def affine(x: Any, alpha: float = 1.0, beta: float = 0.0) -> Any:
    """α·x + β."""
    return alpha * x + beta


def asin(x: Any) -> Any:
    """The arc sine."""
    return tf.math.atan2(x, tf.sqrt((1.0 - x) * (1.0 + x)))


def asinh(x: Any) -> Any:
    """The inverse hyperbolic sine."""
    size = tf.abs(x)
    return tf.sign(x) * tf.math.log(size + tf.sqrt(size * size + 1.0))


def atan(x: Any) -> Any:
    """The arc tangent."""
    return tf.math.atan2(x, tf.ones_like(x))


def atanh(x: Any) -> Any:
    """The inverse hyperbolic tangent."""
    return 0.5 * tf.math.log((1.0 + x) / (1.0 - x))


def cosh(x: Any) -> Any:
    """The hyperbolic cosine."""
    return 0.5 * (tf.exp(x) + tf.exp(-x))


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where positive, α·(exp(x) − 1) elsewhere."""
    return tf.nn.elu(x) if alpha == 1.0 else tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)


def erf(x: Any) -> Any:
    """The error function, by Abramowitz and Stegun (1964), 7.1.26: at most 1.5e-7 off, and what rounding adds."""
    size = tf.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * size)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return tf.sign(x) * (1.0 - series * tf.exp(-size * size))


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


def sinh(x: Any) -> Any:
    """The hyperbolic sine, as tanh(x)·cosh(x): the difference of two exponentials loses digits around 0."""
    return tf.nn.tanh(x) * cosh(x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), in the form that does not overflow and that TFLite has ops for."""
    return tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(-tf.abs(x)))


def softsign(x: Any) -> Any:
    """`x` / (1 + |x|)."""
    return x / (1.0 + tf.abs(x))


def tan(x: Any) -> Any:
    """The tangent."""
    return tf.sin(x) / tf.cos(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return tf.nn.tanh(x)


def thresholded_relu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where it exceeds α, 0 elsewhere."""
    return tf.where(tf.greater(x, alpha), x, tf.zeros_like(x))
