"""Max and average pools over windows and over the whole image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers
from edgekit.lowering.window import Window, as_image, from_image

__all__: list[str] = []

_NEVER_NEGATIVE = {"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Exp", "Sqrt", "Softplus"}
_DROPS_UNIT_AXES = {"Flatten", "Squeeze", "Reshape"}


def _refuse(node: Node) -> str | None:
    if len(node.shape()) not in (3, 4):
        return f"Replace the {len(node.shape()) - 2}-D pool {node.name!r}: edgekit lowers 1-D and 2-D ones."
    if any(step != 1 for step in node.integers("dilations", (1,))):
        return f"Replace the dilated pool {node.name!r} by a plain one: TFLite has none."
    if node.output_count > 1:
        return f"Replace {node.name!r} by a pool without indices: TFLite's gives none."
    return None


@lowers("MaxPool", refuse=_refuse)
def max_pool(node: Node, x: Laid) -> Laid:
    """Max pool. Padding never wins: zeros do behind a non-negative op, else the lowest float."""
    window = Window.of(node, node.integers("kernel_shape"))
    image = as_image(x.to(channels_last(x.rank)).value, x.rank)
    lowest = 0.0 if _never_negative(node.producer()) else float(np.finfo(np.float32).min)
    padding, image = window.padded(image, lowest)
    pooled = tf.nn.max_pool2d(image, window.kernel, window.strides, padding)
    return _channels_last(from_image(pooled, x.rank), node)


@lowers("AveragePool", refuse=_refuse)
def average_pool(node: Node, x: Laid) -> Laid:
    """Average pool; windows that count fewer elements than the kernel has are corrected by a constant factor."""
    window = Window.of(node, node.integers("kernel_shape"))
    include_pad = bool(node.integer("count_include_pad"))
    image = as_image(x.to(channels_last(x.rank)).value, x.rank)
    if window.is_same and not include_pad:  # TensorFlow's SAME leaves padding out of the mean, too
        pooled = tf.nn.avg_pool2d(image, window.kernel, window.strides, "SAME")
    else:
        pooled = tf.nn.avg_pool2d(window.explicit(image), window.kernel, window.strides, "VALID")
        factors = math.prod(window.kernel) / window.counts(include_pad=include_pad)
        if (factors != 1).any():
            pooled *= factors.astype(np.float32)[None, :, :, None]
    return _channels_last(from_image(pooled, x.rank), node)


@lowers("GlobalAveragePool")
def global_average_pool(node: Node, x: Laid) -> Laid:
    """The mean over the spatial axes."""
    return _global(node, x, tf.reduce_mean)


@lowers("GlobalMaxPool")
def global_max_pool(node: Node, x: Laid) -> Laid:
    """The maximum over the spatial axes."""
    return _global(node, x, tf.reduce_max)


def _global(node: Node, x: Laid, reduce: Any) -> Laid:
    """A reduction that leaves the unit axes out when only reshapes follow, so that no RESHAPE op is needed."""
    source = x.to(channels_last(x.rank))
    spatial = list(range(1, x.rank - 1))
    drop = not node.is_output and all(user.op in _DROPS_UNIT_AXES for user in node.consumers())
    value = reduce(source.value, spatial, keepdims=not drop)
    return Laid(value, node.output_shape, (0, 1) if drop else channels_last(x.rank))


def _channels_last(value: Any, node: Node) -> Laid:
    return Laid(value, node.output_shape, channels_last(len(node.output_shape)))


def _never_negative(node: Node | None) -> bool:
    if node is None:
        return False
    low = node.constant(1) if node.op == "Clip" else None
    return node.op in _NEVER_NEGATIVE or (low is not None and float(low) >= 0)
