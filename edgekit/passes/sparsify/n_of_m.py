"""N of each M neighbouring input channels stay, the largest: what sparse tensor cores want (arXiv:2104.08378)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from edgekit.core.errors import UsageError
from edgekit.passes.layer_weights import LayerWeights
from edgekit.passes.sparsify.masks import Masks

__all__ = ["n_of_m", "parse"]

_MOST = 64


def parse(text: str) -> tuple[int, int]:
    """N and M of "2:4".

    Raises:
        UsageError: it is not of that form, or N is not between 1 and M − 1.
    """
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text)
    kept, of = (int(number) for number in found.groups()) if found else (0, 0)
    if not 0 < kept < of <= _MOST:
        raise UsageError(
            f"{text} does not say how many of how many weights stay, like 2:4, out of {_MOST} at most",
            blame="the command line",
            remedy="Give for example 2:4, of which half is zero, or a share: 0.5",
        )
    return kept, of


def n_of_m(layers: Sequence[LayerWeights], kept: int, of: int) -> Masks:
    """Mask all but the `kept` largest of each `of` weights along the input channels; a short last group keeps as many.

    Where a layer has `kept` input channels or fewer, all of it stays.
    """
    found = {}
    for weights in layers:
        sizes = np.moveaxis(np.abs(weights.content), weights.read, -1)
        short = -sizes.shape[-1] % of
        # What is padded goes before any weight does.
        padded = np.pad(sizes, [(0, 0)] * (sizes.ndim - 1) + [(0, short)], constant_values=-1)
        groups = padded.reshape(*padded.shape[:-1], -1, of)
        places = np.argsort(groups, axis=-1, kind="stable")[..., of - kept :]
        mask = np.zeros(groups.shape, bool)
        np.put_along_axis(mask, places, values=True, axis=-1)
        found[weights.constant] = np.moveaxis(mask.reshape(padded.shape)[..., : sizes.shape[-1]], -1, weights.read)
    return found
