"""The pass: a power of two as the scale of each channel whose range, or whose readers' weights, stand out.

An activation has one scale in int8: a channel that reaches far beyond the others leaves these few steps. The weights
that read a channel suffer likewise from a neighbour. Halfway between the two is where the trouble is shared, as in
SmoothQuant (Xiao et al., ICML 2023, arXiv:2211.10438), there for what a LayerNormalization makes; here wherever a scale
is free. Powers of two change no digit of a float answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.equalise.peaks import channel_peaks
from edgekit.passes.equalise.scale_classes import ScaleClass, scale_classes, scaled
from edgekit.passes.layer_weights import set_weights

__all__ = ["EqualiseChannels"]

_Array = np.ndarray[Any, Any]
_NEAREST, _FURTHEST = 2, 20  # powers of two that a channel moves, at least and at most


class EqualiseChannels(Pass):
    """Moves the scales of channels between the layers that make them and those that read them."""

    name: ClassVar[str] = "equalise-channels"

    def __init__(self, samples: Mapping[str, _Array]) -> None:
        """`samples` are calibration inputs by name, (samples, …) each."""
        self._samples = samples

    def call(self, model: Model) -> PassResult:
        """Scale the channels of each class; those of the classes in front count as they are after that."""
        classes = scale_classes(model)
        wanted = {(value, axis) for each in classes for value, axis in each.values}
        peaks = channel_peaks(model, self._samples, wanted)
        fired = 0
        for each in classes:
            scales = np.exp2(_powers(model, each, peaks))
            for axis in each.axes:
                content = model.graph.initializers[axis.constant].const_value
                assert content is not None
                set_weights(model, axis.constant, scaled(content.numpy(), axis, scales))
            fired += int((scales != 1).any())
        return PassResult(model, fired)


def _powers(model: Model, each: ScaleClass, peaks: Mapping[tuple[str, int], _Array]) -> _Array:
    """The exponents of the scales, (channels,); 0 in the middle."""
    reached = [_relative(peaks[place]) for place in each.values]
    read = [_relative(_peak(model, axis.constant, axis.axis)) for axis in each.weights if not axis.made]
    with np.errstate(invalid="ignore"):  # neither anything nor read
        powers = (np.mean(read, axis=0) - np.mean(reached, axis=0)) / 2
    # A channel that is never anything, or that nobody reads, may stay as it is.
    known = np.isfinite(powers)
    powers = np.rint(np.where(known, powers - (np.median(powers[known]) if known.any() else 0), 0))
    return np.where(np.abs(powers) < _NEAREST, 0, np.clip(powers, -_FURTHEST, _FURTHEST))


def _relative(peaks: _Array) -> _Array:
    """Binary logarithms of peaks, beside the largest of them; no finite numbers of zeros."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: _Array = np.log2(peaks) - np.log2(peaks.max())
    return found


def _peak(model: Model, constant: str, axis: int) -> _Array:
    content = model.graph.initializers[constant].const_value
    assert content is not None
    array = np.abs(content.numpy().astype(np.float64))
    found: _Array = array.max(axis=tuple(at for at in range(array.ndim) if at != axis))
    return found
