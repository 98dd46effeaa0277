"""BatchNormalization, which stays one: its four vectors are variables, and the TFLite converter folds it."""

from __future__ import annotations

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []


@lowers("BatchNormalization", frozen=(3, 4))
def batch_normalization(node: Node, x: Laid, *statistics: Laid) -> Laid:
    """(x − mean) · scale / √(variance + ε) + bias over the channels, with the stored statistics."""
    scale, bias, mean, variance = statistics
    source = x.to(channels_last(x.rank))
    value = tf.nn.batch_normalization(
        source.value, mean.value, variance.value, bias.value, scale.value, node.number("epsilon", 1e-5)
    )
    return source.like(value)
