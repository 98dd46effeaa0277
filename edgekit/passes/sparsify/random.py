"""Chance: the baseline that every other pattern has to beat. What is zero already goes first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.passes.layer_weights import LayerWeights
from edgekit.passes.sparsify.masks import Masks, without_least

__all__ = ["random"]


def random(layers: Sequence[LayerWeights], share: float, seed: int) -> Masks:
    """Mask a random `share` of each layer's weights; the same for the same seed."""
    generator = np.random.default_rng(seed)
    found = {}
    for weights in layers:
        scores = generator.random(weights.content.shape)
        scores[weights.content == 0] = -1
        found[weights.constant] = without_least(scores, share)
    return found
