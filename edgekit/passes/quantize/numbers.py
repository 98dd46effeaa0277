"""What the numbers of each layer are like: their ranges, and the channels that take a scale from all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.sensitivity import LayerRanges, Outlier
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.passes.equalise.peaks import channel_peaks
from edgekit.passes.prune.layers import layers
from edgekit.passes.quantize.placement import Storing
from edgekit.passes.quantize.ranges import Range
from edgekit.passes.quantize.segments import segments

__all__ = ["layer_ranges", "standing_out"]

_Array = np.ndarray[Any, Any]
# A channel stands out from here on, in either direction; and so many of a layer are told.
_FACTOR, _MOST = 8.0, 3


def layer_ranges(
    model: Model, ranges: Mapping[str, Range], samples: Mapping[str, _Array], storing: Storing
) -> tuple[LayerRanges, ...]:
    """Of each layer that has something to round, in the order of `layer_costs`.

    Args:
        model: a float network.
        ranges: of its values, from `measure_ranges`.
        samples: calibration samples on which channels are looked at.
        storing: how a value is stored.
    """
    parts = [part for part in segments(model, storing) if part.layer is not None]
    axes = {part.values[0]: _channel_axis(part.values[0]) for part in parts}
    wanted = {(str(value.name), axis) for value, axis in axes.items() if axis is not None}
    peaks = channel_peaks(model, samples, wanted)
    costs = {layer.name: layer for layer in model_cost(model).layers}
    weights = {
        node: _weights(makes.weights, makes.axis, reads.axis if reads else None)
        for node, makes, reads in layers(model.graph)
    }
    found = [
        LayerRanges(spec.name, (), (ranges[spec.name].low, ranges[spec.name].high), (), None, (), 0, 0)
        for spec in model.inputs
        if spec.dtype == "float32"
    ]
    for part in parts:
        assert part.layer is not None
        value, name = part.values[0], str(part.layer.name)
        stored, crushed = weights.get(part.layer, (None, ()))
        cost = costs.get(name)
        found.append(
            LayerRanges(
                layer=name,
                nodes=tuple(str(node.name) for node in part.nodes),
                output=(ranges[str(value.name)].low, ranges[str(value.name)].high),
                output_outliers=standing_out(peaks[str(value.name), axis]) if (axis := axes[value]) is not None else (),
                weights=stored,
                weight_outliers=crushed,
                params=cost.params if cost else 0,
                macs=cost.macs if cost else 0,
            )
        )
    return tuple(found)


def standing_out(peaks: _Array) -> tuple[Outlier, ...]:
    """Channels whose peak is eight times the median one or more, or an eighth or less, the furthest first.

    Args:
        peaks: (channels,); zeros are channels that are never anything, and don't count.
    """
    alive = np.flatnonzero(peaks > 0)
    if len(alive) < 3:
        return ()
    factors = peaks[alive] / np.median(peaks[alive])
    distance = np.abs(np.log2(factors))
    order = np.argsort(-distance, kind="stable")[:_MOST]
    return tuple(Outlier(int(alive[at]), float(factors[at])) for at in order if distance[at] >= np.log2(_FACTOR))


def _weights(value: ir.Value, made: int, read: int | None) -> tuple[tuple[float, float] | None, tuple[Outlier, ...]]:
    """The range of weights, and which of the channels that they read is next to nothing on their scales.

    Each output channel has a scale, so that a large one takes nothing from the others.
    """
    content = value.const_value
    if content is None or not content.size:
        return None, ()
    array = content.numpy().astype(np.float64)
    span = float(array.min()), float(array.max())
    if read is None:
        return span, ()
    tops = np.abs(array).max(axis=tuple(at for at in range(array.ndim) if at != made), keepdims=True)
    shares = np.abs(array) / np.where(tops > 0, tops, 1)
    return span, standing_out(shares.max(axis=tuple(at for at in range(array.ndim) if at != read)))


def _channel_axis(value: ir.Value) -> int | None:
    """Where an activation has its channels: second in what looks like an image, else last."""
    rank = len(value.shape) if value.shape is not None else 0
    return None if rank < 2 else 1 if rank > 3 else rank - 1
