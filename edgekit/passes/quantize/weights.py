"""Scales of weights in int8: symmetric, one a channel, or one for all where the weights were stored so before."""

from __future__ import annotations

import numpy as np

from edgekit.passes.fuse.rewiring import Array

__all__ = ["is_stored_whole", "scale_for_bias", "weight_scale"]

# How far weight ÷ scale may be from an integer where the weight is the rounded product of the two.
_OFF_GRID = 1e-3
# A bias in int32 leaves the products as much room as it takes itself.
_MOST_BIAS = 2.0**30
# Steps that a bias gets where there are no weights to set them.
_BIAS_ALONE = 2.0**20


def is_stored_whole(weights: Array) -> bool:
    """Whether float32 weights are what int8 weights with a single scale, max |w| ÷ 127, stand for.

    Scales for each channel would round such weights a second time.
    """
    top = np.float32(np.abs(weights).max(initial=0.0) / 127)
    return bool(top) and bool(np.abs(weights / top - np.rint(weights / top)).max() < _OFF_GRID)


def weight_scale(weights: Array, axis: int, top: int = 127) -> Array:
    """The largest |w| ÷ `top` of each channel, or of all weights where `is_stored_whole`.

    Args:
        weights: float32.
        axis: of the output channels.
        top: the greatest integer.

    Returns:
        float32 of shape () or (channels,); 1 for channels of zeros.
    """
    if is_stored_whole(weights):
        return np.asarray(np.abs(weights).max() / top, np.float32)
    tops = np.abs(weights).max(axis=tuple(at for at in range(weights.ndim) if at != axis), initial=0.0)
    return np.where(tops > 0, tops / top, 1).astype(np.float32)


def scale_for_bias(scale: Array, weights: Array, axis: int, bias: Array) -> Array:
    """Scales of weights as far as an int32 bias in these steps allows.

    Where weights are next to nothing beside their bias, their scale grows until the bias fits. Channels of zeros get
    a scale that suits the bias, since zeros have any.

    Args:
        scale: what `weight_scale` gives for the weights.
        weights: float32.
        axis: of the output channels.
        bias: of each channel, ÷ the scale of the layer's input.

    Returns:
        float32, in the shape of `scale`.
    """
    size = np.abs(bias.astype(np.float64))
    if scale.ndim == 0:
        return np.asarray(np.maximum(scale, size.max(initial=0.0) / _MOST_BIAS), np.float32)
    empty = ~weights.any(axis=tuple(at for at in range(weights.ndim) if at != axis))
    alone = np.where(size > 0, size / _BIAS_ALONE, 1)
    return np.where(empty, alone, np.maximum(scale, size / _MOST_BIAS)).astype(np.float32)
