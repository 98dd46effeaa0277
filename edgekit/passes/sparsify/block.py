"""Blocks of four output channels by one input go, those of the smallest norm: what kernels with vectors of four skip.

The pattern is the one of XNNPACK's sparse products (Elsen et al., Fast Sparse ConvNets, CVPR 2020, arXiv:1911.09723).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.passes.layer_weights import LayerWeights
from edgekit.passes.sparsify.masks import Masks, without_least

__all__ = ["BLOCK", "block"]

BLOCK = 4


def block(layers: Sequence[LayerWeights], share: float, seed: int) -> Masks:  # noqa: ARG001 - as every pattern
    """Mask the `share` of each layer's blocks whose mean square is least."""
    found = {}
    for weights in layers:
        squares = np.moveaxis(weights.content.astype(np.float64) ** 2, weights.made, 0)
        begins = np.arange(0, len(squares), BLOCK)
        # Means, not sums: a last block that is short has no smaller norm for it.
        sizes = np.diff(begins, append=len(squares)).reshape(-1, *[1] * (squares.ndim - 1))
        means = np.add.reduceat(squares, begins, axis=0) / sizes
        mask = np.repeat(without_least(means, share), BLOCK, axis=0)[: len(squares)]
        found[weights.constant] = np.moveaxis(mask, 0, weights.made)
    return found
