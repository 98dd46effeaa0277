"""What is done to a network so that int8 loses less: plain data, for the pipeline and for the pass that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PLAIN", "RangeMethod", "Repair", "Rounding"]

RangeMethod = Literal["min-max", "percentile", "mse", "entropy"]
Rounding = Literal["nearest", "adaptive"]

_RANGES = {
    "min-max": "",
    "percentile": "ranges by percentile",
    "mse": "ranges by squared error",
    "entropy": "ranges by divergence",
}


@dataclass(frozen=True)
class Repair:
    """What is done. As it is by default, nothing: a back end's own quantizer does the whole work.

    Attributes:
        ranges: which range of an activation int8 covers.
        rounding: of weights.
        bias_correction: whether biases make up for the mean error of their channels.
    """

    ranges: RangeMethod = "min-max"
    rounding: Rounding = "nearest"
    bias_correction: bool = False

    def __str__(self) -> str:
        """For people, like "ranges by squared error, adaptive rounding, bias correction"."""
        rounding = "adaptive rounding" if self.rounding == "adaptive" else ""
        bias = "bias correction" if self.bias_correction else ""
        return ", ".join(part for part in (_RANGES[self.ranges], rounding, bias) if part) or "none"


PLAIN = Repair()
