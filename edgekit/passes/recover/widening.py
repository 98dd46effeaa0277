"""Channels in whole vectors: a pruned layer trains at its full speed with zeros behind its channels.

oneDNN takes 16 channels at a time. In bfloat16, a BatchNormalization of 12 falls back to its reference code, ten times
as slow as one of 16. So a convolution in front of one gets zeros in its kernel, up to the next multiple; what works on
each channel by itself works on all of them, and anything else gets the true ones, cut out. Weights and answers stay as
they are.
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
# The ops that work on each channel by itself, and how many of their inputs have channels.
_CHANNELWISE = {
    "Add": 2, "AveragePool": 1, "Clip": 1, "HardSwish": 1, "LeakyRelu": 1, "MaxPool": 1, "Relu": 1, "Sigmoid": 1,
}  # fmt: skip

_Lowering = Callable[..., Any]


def widened(training: Mapping[str, _Lowering]) -> dict[str, _Lowering]:
    """The lowerings `training`, and those of convolutions and channelwise ops, on whole vectors of channels.

    Those in `training` are for normalisations, and must take images with more channels than they have figures.

    Returns:
        Lowerings for one call of `LoweredModule.activations`.
    """
    whole: dict[Any, Any] = {}  # by a tensor of the true channels, the one that it was cut out of

    def wide(x: Laid) -> Laid | None:
        found = whole.get(x.value.ref()) if x.order == channels_last(x.rank) else None
        return None if found is None else replace(x, value=found, shape=(x.shape[0], found.shape[-1], *x.shape[2:]))

    def cut(node: Node, result: Laid) -> Laid:
        narrow = result.value[..., : node.output_shape[1]]
        whole[narrow.ref()] = result.value
        return replace(result, value=narrow, shape=node.output_shape)

    def conv(node: Node, x: Laid, weight: Laid, bias: Laid | None = None) -> Any:
        source, groups, outputs = wide(x), node.integer("group", 1), weight.value.shape[0]
        unseen = 0 if source is None else source.value.shape[-1] - x.value.shape[-1]
        more = 0
        if groups == 1:
            more = -outputs % _VECTOR if any(reader.op in training for reader in node.consumers()) else 0
        elif groups == outputs == x.shape[1]:
            more, unseen = unseen, 0
        else:
            source, unseen = None, 0
        weight = replace(weight, value=filled(weight.value, more, unseen))
        bias = None if bias is None else replace(bias, value=filled(bias.value, more))
        result = entry(node).lower(node, source or x, weight, bias)
        return cut(node, result) if more else result

    def channelwise(node: Node, *inputs: Any) -> Any:
        lower, count = training.get(node.op, entry(node).lower), _CHANNELWISE.get(node.op, 1)
        sources = [wide(x) for x in inputs[:count]]
        if any(source is None for source in sources) or len({node.shape(place) for place in range(count)}) > 1:
            return lower(node, *inputs)
        return cut(node, lower(node, *sources, *inputs[count:]))

    return {"Conv": conv, **dict.fromkeys((*training, *_CHANNELWISE), channelwise)}


def filled(tensor: Any, *more: int) -> Any:
    """`tensor` with so many zeros behind each of its first axes.

    They are concatenated: with `tf.pad` in their place, TensorFlow 2.21 crashes when it fuses.
    """
    for axis, count in enumerate(more):
        if count:
            shape = [count if place == axis else size for place, size in enumerate(tensor.shape)]
            tensor = tf.concat((tensor, tf.zeros(shape)), axis)
    return tensor
