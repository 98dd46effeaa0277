"""The smallest weights go, the same share of each layer (Han et al., NIPS 2015, arXiv:1506.02626)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.passes.layer_weights import LayerWeights
from edgekit.passes.sparsify.masks import Masks, without_least

__all__ = ["magnitude"]


def magnitude(layers: Sequence[LayerWeights], share: float, seed: int) -> Masks:  # noqa: ARG001 - as every pattern
    """Mask the `share` of each layer's weights that is smallest."""
    return {weights.constant: without_least(np.abs(weights.content), share) for weights in layers}
