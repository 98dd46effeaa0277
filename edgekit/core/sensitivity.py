"""What int8 costs: figures that the measurement, the plan that is made from them and `edgekit explain` share."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Cost", "LayerCost", "LayerRanges", "Outlier", "Sensitivity", "own_worst"]


@dataclass(frozen=True)
class Cost:
    """What a change of a network does to its answers.

    Attributes:
        sqnr_db: signal-to-quantization-noise ratio against the float answers, of the worst output.
        agreement: share of samples whose class stays what it was, in points; None where outputs are no classes.
        drop: of the metric, in points; None without labels.
    """

    sqnr_db: float
    agreement: float | None = None
    drop: float | None = None


@dataclass(frozen=True)
class LayerCost:
    """What a layer's int8 alone costs.

    Attributes:
        layer: the node's name; of an input of the network, its name.
        op: its operator; "Input" of an input.
        values: names of what it makes; a ReLU or clip that rounding does is part of the layer.
        sqnr_db, agreement, drop: as in `Cost`, where all of it is int8: its weights, what it reads and what it makes.
            To be rid of this it has to compute in float, from what was not rounded.
        weights: where only its weights are; None where it has none.
        output: where only what it makes is.
    """

    layer: str
    op: str
    values: tuple[str, ...]
    sqnr_db: float
    agreement: float | None
    drop: float | None
    weights: Cost | None
    output: Cost


@dataclass(frozen=True)
class Outlier:
    """A channel that stands out: how far it reaches ÷ how far the median of the channels does."""

    channel: int
    factor: float


@dataclass(frozen=True)
class LayerRanges:
    """What a layer's numbers are like, over the calibration samples, and what it weighs.

    Attributes:
        layer: as in `LayerCost`.
        nodes: names of the nodes that it is: itself, and an activation that rounding does.
        output: the least and the greatest number that it makes.
        output_outliers: channels of that which stand out, the furthest first.
        weights: the least and the greatest weight; None where it has none.
        weight_outliers: channels that it reads by weights that stand out beside those which share their scale.
        params: how many constants it has.
        macs: multiply-accumulates of one inference.
    """

    layer: str
    nodes: tuple[str, ...]
    output: tuple[float, float]
    output_outliers: tuple[Outlier, ...]
    weights: tuple[float, float] | None
    weight_outliers: tuple[Outlier, ...]
    params: int
    macs: int


@dataclass(frozen=True)
class Sensitivity:
    """What int8 costs a network.

    Attributes:
        layers: layer by layer, in the order in which they run, the inputs first.
        ranges: of the same layers in the same order.
        naive: all of them at once, as nobody would do it: everything int8, the outputs too, by the ranges that were
            seen.
        samples: how many were judged on.
    """

    layers: tuple[LayerCost, ...]
    ranges: tuple[LayerRanges, ...]
    naive: Cost
    samples: int


def own_worst(cost: LayerCost) -> float:
    """The SQNR, in dB, of the worse of a layer's weights and its results: what it reads is somebody else's."""
    return min(cost.output.sqnr_db, cost.weights.sqnr_db if cost.weights else math.inf)
