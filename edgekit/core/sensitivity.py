"""What int8 costs: figures that the measurement, the plan that is made from them and `edgekit explain` share."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Cost", "LayerCost", "own_worst"]


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


def own_worst(cost: LayerCost) -> float:
    """The SQNR, in dB, of the worse of a layer's weights and its results: what it reads is somebody else's."""
    return min(cost.output.sqnr_db, cost.weights.sqnr_db if cost.weights else math.inf)
