"""Channels in whole vectors: a pruned layer trains at its full speed with zeros behind its channels.

oneDNN takes 16 channels at a time. In bfloat16, a BatchNormalization of 12 falls back to its reference code, ten times
as slow as one of 16. So a convolution's kernel gets zeros, up to the next multiple; what works on each channel by
itself works on all of them, and anything else gets the true ones, cut out. Weights and answers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.lowering.node import Node
from edgekit.lowering.registry import entry

__all__ = ["filled", "widened"]

_VECTOR = 16
# The ops that work element by element, and how many of their inputs are images.
_ELEMENTWISE = {"Add": 2, "Clip": 1, "HardSwish": 1, "LeakyRelu": 1, "Relu": 1, "Sigmoid": 1}
_POOLS = ("AveragePool", "MaxPool")

_Lowering = Callable[..., Any]


def widened(training: Mapping[str, _Lowering]) -> dict[str, _Lowering]:
    """The lowerings `training`, and those of convolutions and channelwise ops, on whole vectors of channels.

    Those in `training` are for normalisations, and must take images with more channels than they have figures.

    Returns:
        Lowerings for one call of `LoweredModule.activations`.
    """
    whole: dict[Any, Any] = {}  # by a tensor of the true channels, the one that it was cut out of

    def wide(x: Laid) -> Laid | None:
        found = whole.get(x.value.ref())
        if found is None:
            return None
        shape = tuple(found.shape[-1] if axis == x.order[-1] else size for axis, size in enumerate(x.shape))
        return replace(x, value=found, shape=shape)

    def wide_image(x: Laid) -> Laid | None:
        return wide(x) if x.order == channels_last(x.rank) else None

    def cut(node: Node, result: Laid) -> Laid:
        shape = node.output_shape
        narrow = result.value[..., : shape[result.order[-1]]]
        whole[narrow.ref()] = result.value
        return replace(result, value=narrow, shape=shape)

    def conv(node: Node, x: Laid, weight: Laid, bias: Laid | None = None) -> Any:
        source, groups, outputs = wide_image(x), node.integer("group", 1), weight.value.shape[0]
        unseen = 0 if source is None else source.value.shape[-1] - x.value.shape[-1]
        more = -outputs % _VECTOR
        if groups > 1:
            if groups != x.shape[1] or groups != outputs:
                source = None
            more, unseen = (0 if source is None else unseen), 0
        weight = replace(weight, value=filled(weight.value, more, unseen))
        bias = None if bias is None else replace(bias, value=filled(bias.value, more))
        result = entry(node).lower(node, source or x, weight, bias)
        return cut(node, result) if more else result

    def channelwise(node: Node, x: Laid, *others: Any) -> Any:
        lower, source = training.get(node.op, entry(node).lower), wide_image(x)
        return lower(node, x, *others) if source is None else cut(node, lower(node, source, *others))

    def elementwise(node: Node, *inputs: Any) -> Any:
        lower, count = entry(node).lower, _ELEMENTWISE[node.op]
        sources = [wide(x) for x in inputs[:count]]
        if None in sources or len({(x.shape, x.order) for x in sources if x}) > 1:
            return lower(node, *inputs)
        return cut(node, lower(node, *sources, *inputs[count:]))

    return {
        "Conv": conv,
        **dict.fromkeys((*training, *_POOLS), channelwise),
        **dict.fromkeys(_ELEMENTWISE, elementwise),
    }


def filled(tensor: Any, *more: int) -> Any:
    """`tensor` with so many zeros behind each of its first axes.

    They are concatenated: with `tf.pad` in their place, TensorFlow 2.21 crashes when it fuses.
    """
    for axis, count in enumerate(more):
        if count:
            shape = [count if place == axis else size for place, size in enumerate(tensor.shape)]
            tensor = tf.concat((tensor, tf.zeros(shape)), axis)
    return tensor
