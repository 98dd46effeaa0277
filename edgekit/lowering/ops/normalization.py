"""Normalizations. BatchNormalization stays one: its vectors are variables, and the TFLite converter folds it.

The others compute their statistics from the input, over its axes as they lie: no order is asked for.
"""

from __future__ import annotations

import math
from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, broadcast, channels_last, reshaped
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []


def _refuse_training(node: Node) -> str | None:
    if node.integer("training_mode"):
        return f"Export the network for inference: {node.name!r} takes its statistics from the batch."
    return None


@lowers("BatchNormalization", frozen=(3, 4), refuse=_refuse_training)
def batch_normalization(node: Node, x: Laid, *statistics: Laid) -> Laid:
    """(x − mean) · scale / √(variance + ε) + bias over the channels, with the stored statistics."""
    scale, bias, mean, variance = statistics
    source = x.to(channels_last(x.rank))
    value = tf.nn.batch_normalization(
        source.value, mean.value, variance.value, bias.value, scale.value, node.number("epsilon", 1e-5)
    )
    return source.like(value)


@lowers("LayerNormalization")
def layer_normalization(node: Node, x: Laid, scale: Laid, bias: Laid | None = None) -> tuple[Laid, ...]:
    """(x − mean) / √(variance + ε) · scale + bias over the last axes; also the mean and 1 / √(variance + ε)."""
    source = x.with_all_axes()
    axes = _from_axis(node, source)
    mean, centred, factor = _statistics(source.value, axes, node.number("epsilon", 1e-5))
    whole = _affine(source.like(centred * factor), scale, bias)
    shape = tuple(1 if source.axis(i) in axes else size for i, size in enumerate(source.shape))
    return whole, Laid(mean, shape, source.order), Laid(factor, shape, source.order)


@lowers("RMSNormalization")
def rms_normalization(node: Node, x: Laid, scale: Laid) -> Laid:
    """`x` / √(mean of squares + ε) · scale over the last axes."""
    source = x.with_all_axes()
    axes = _from_axis(node, source)
    squares = tf.reduce_mean(tf.square(source.value), axes, keepdims=True)
    return _affine(source.like(source.value * tf.math.rsqrt(squares + node.number("epsilon", 1e-5))), scale, None)


@lowers("InstanceNormalization")
def instance_normalization(node: Node, x: Laid, scale: Laid, bias: Laid) -> Laid:
    """(x − mean) / √(variance + ε) · scale + bias, with the statistics of each channel of each sample."""
    source = x.with_all_axes()
    _, centred, factor = _statistics(
        source.value, [source.axis(axis) for axis in range(2, x.rank)], node.number("epsilon", 1e-5)
    )
    return _affine(source.like(centred * factor), _of_channels(scale, x.rank), _of_channels(bias, x.rank))


@lowers("GroupNormalization")
def group_normalization(node: Node, x: Laid, scale: Laid, bias: Laid) -> Laid:
    """Like InstanceNormalization, with the statistics of groups of neighbouring channels."""
    source = x.to(channels_last(x.rank))
    sizes, groups = source.value.shape.as_list(), node.integer("num_groups")
    grouped = reshaped(source.value, (sizes[0], math.prod(sizes[1:-1]), groups, sizes[-1] // groups))
    _, centred, factor = _statistics(grouped, [1, 3], node.number("epsilon", 1e-5))
    whole = source.like(reshaped(centred * factor, sizes))
    return _affine(whole, _of_channels(scale, x.rank), _of_channels(bias, x.rank))


@lowers("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Laid) -> Laid:
    """(x − mean) / (standard deviation + 1e-9)."""
    source = x.with_all_axes()
    axes = [source.axis(axis) for axis in node.integers("axes", (0, 2, 3))]
    centred = source.value - tf.reduce_mean(source.value, axes, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centred), axes, keepdims=True))
    return source.like(centred / (deviation + 1e-9))


@lowers("LpNormalization")
def lp_normalization(node: Node, x: Laid) -> Laid:
    """`x` / ‖x‖ along an axis, in the 1- or the 2-norm; what has the norm 0 stays."""
    source = x.with_all_axes()
    axis = source.axis(node.integer("axis", -1))
    if node.integer("p", 2) == 1:
        norm = tf.reduce_sum(tf.abs(source.value), axis, keepdims=True)
    else:
        norm = tf.sqrt(tf.reduce_sum(tf.square(source.value), axis, keepdims=True))
    return source.like(source.value / tf.where(tf.equal(norm, 0.0), tf.ones_like(norm), norm))


@lowers("LRN")
def local_response_normalization(node: Node, x: Laid) -> Laid:
    """`x` / (bias + α / size · Σ x² over neighbouring channels)^β: the sum is a product with a band matrix."""
    source, size = x.to(channels_last(x.rank)), node.integer("size")
    channels = source.value.shape[-1]
    band = tf.linalg.band_part(tf.ones((channels, channels)), size // 2, (size - 1) // 2)
    squares = tf.matmul(reshaped(tf.square(source.value), (None, channels)), band)
    total = reshaped(squares, source.value.shape.as_list()) * (node.number("alpha", 1e-4) / size)
    return source.like(source.value * tf.pow(total + node.number("bias", 1.0), -node.number("beta", 0.75)))


def _from_axis(node: Node, x: Laid) -> list[int]:
    """The physical axes of the logical ones from the attribute `axis` on."""
    return [x.axis(axis) for axis in range(node.integer("axis", -1) % x.rank, x.rank)]


def _statistics(value: Any, axes: list[int], epsilon: float) -> tuple[Any, Any, Any]:
    """The mean over `axes`, what is left without it, and 1 / √(variance + ε)."""
    mean = tf.reduce_mean(value, axes, keepdims=True)
    centred = value - mean
    variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    return mean, centred, tf.math.rsqrt(variance + epsilon)


def _affine(x: Laid, scale: Laid, bias: Laid | None) -> Laid:
    """`x` · scale + bias, broadcast."""
    (value, factor), order = broadcast([x, scale])
    value = value * factor
    if bias is not None:
        (value, addend), order = broadcast([Laid(value, x.shape, order), bias])
        value = value + addend
    return Laid(value, x.shape, order)


def _of_channels(vector: Laid, rank: int) -> Laid:
    """A vector (C) as (C, 1, …), so that it meets the channels."""
    shape = (*vector.shape, *(1,) * (rank - 2))
    return Laid.logical(reshaped(vector.in_logical_order(), shape), shape, constant=vector.constant)
