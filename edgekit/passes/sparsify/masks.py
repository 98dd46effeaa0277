"""Masks: of each weight of a layer, whether it stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.layer_weights import layer_weights

__all__ = ["Mask", "Masks", "masks", "without_least"]

Mask = np.ndarray[Any, np.dtype[np.bool_]]
# By the name of the constant, in its shape.
Masks = Mapping[str, Mask]


def masks(model: Model) -> Masks:
    """The weights that are not zero, of each layer that has a zero: what a trainer multiplies by to keep zeros zero."""
    found = {weights.constant: weights.content != 0 for weights in layer_weights(model)}
    return {constant: mask for constant, mask in found.items() if not mask.all()}


def without_least(scores: np.ndarray[Any, Any], share: float) -> Mask:
    """All but the `share` of `scores` that is least, in their shape; of equal ones the first go. One always stays."""
    count = min(round(share * scores.size), scores.size - 1)
    mask = np.ones(scores.size, bool)
    mask[np.argsort(scores, axis=None, kind="stable")[:count]] = False
    return mask.reshape(scores.shape)
