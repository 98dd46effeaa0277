"""The smallest weights of all layers go, by one ranking: layers that can spare more lose more.

A weight's score is its share of the squares of what is left of its layer when all smaller ones have gone, the layer-
adaptive magnitude of Lee et al. (ICLR 2021, arXiv:2010.07611). Plain magnitudes would empty whole layers whose weights
are small by their place in the network; here the largest weight of each layer has the score 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.passes.layer_weights import LayerWeights
from edgekit.passes.sparsify.masks import Masks, without_least

__all__ = ["ranking"]


def ranking(layers: Sequence[LayerWeights], share: float, seed: int) -> Masks:  # noqa: ARG001 - as every pattern
    """Mask the `share` of all weights whose scores are least."""
    stays = without_least(np.concatenate([_scores(weights.content) for weights in layers]), share)
    ends = np.cumsum([weights.content.size for weights in layers])[:-1]
    parts = zip(layers, np.split(stays, ends), strict=True)
    return {weights.constant: mask.reshape(weights.content.shape) for weights, mask in parts}


def _scores(content: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    squares = content.ravel().astype(np.float64) ** 2
    order = np.argsort(squares, kind="stable")
    left = np.cumsum(squares[order][::-1])[::-1]
    scores = np.zeros(squares.size)
    scores[order] = np.divide(squares[order], left, out=np.zeros(squares.size), where=left > 0)
    return scores
