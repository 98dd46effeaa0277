"""Scales of weights in int8: symmetric, one a channel, or one for all where the weights were stored so before."""

from __future__ import annotations

import numpy as np

from edgekit.passes.fuse.rewiring import Array

__all__ = ["is_stored_whole", "weight_scale"]

# How far weight ÷ scale may be from an integer where the weight is the rounded product of the two.
_OFF_GRID = 1e-3


def is_stored_whole(weights: Array) -> bool:
    """Whether float32 weights are what int8 weights with a single scale, max |w| ÷ 127, stand for.

    Scales for each channel would round such weights a second time.
    """
    top = np.float32(np.abs(weights).max(initial=0.0) / 127)
    return bool(top) and bool(np.abs(weights / top - np.rint(weights / top)).max() < _OFF_GRID)


def weight_scale(weights: Array, axis: int) -> Array:
    """The largest |w| ÷ 127 of each channel, or of all weights where `is_stored_whole`.

    Args:
        weights: float32.
        axis: of the output channels.

    Returns:
        float32 of shape () or (channels,); 1 for channels of zeros.
    """
    if is_stored_whole(weights):
        return np.asarray(np.abs(weights).max() / 127, np.float32)
    tops = np.abs(weights).max(axis=tuple(at for at in range(weights.ndim) if at != axis), initial=0.0)
    return np.where(tops > 0, tops / 127, 1).astype(np.float32)
