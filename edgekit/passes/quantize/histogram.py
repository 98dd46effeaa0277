"""How often a value takes which numbers over the calibration samples: one pass, and little memory whatever it takes.

The bin of a number is its float32 sign, exponent and first bits of the mantissa. Bins are thus narrow beside the
numbers in them, near zero as well as far out: one outlier, a thousand times as large as the rest, blurs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from edgekit.passes.quantize.ranges import Range

__all__ = ["Histogram"]

_Array = np.ndarray[Any, Any]
_Vector = np.ndarray[Any, np.dtype[np.float64]]
# Of the 23 bits of a mantissa five stay: a bin is 1/32 of its octave wide.
_DROPPED = 18
_BINS = 1 << (32 - _DROPPED)
_POSITIVE = _BINS // 2


@dataclass
class Histogram:
    """Counts of the numbers that a value takes.

    Attributes:
        values: the least and the greatest of them, exactly.
        counts: of each bin, (2 · 8192,): the positive ones from zero outward, then the negative ones.
    """

    values: Range
    counts: np.ndarray[Any, np.dtype[np.int64]] = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    @classmethod
    def of(cls, content: _Array) -> Histogram:
        """That of an array's numbers, which are finite."""
        flat = np.ascontiguousarray(content, np.float32).ravel()
        return cls(Range.of(flat), np.bincount(flat.view(np.uint32) >> _DROPPED, minlength=_BINS))

    def joined(self, other: Histogram) -> Histogram:
        """The histogram of the numbers of both."""
        return Histogram(self.values.joined(other.values), self.counts + other.counts)

    @cached_property
    def edges(self) -> tuple[_Vector, _Vector]:
        """The least and the greatest number of each bin that has any, ascending, no further out than `values`."""
        bits = np.arange(_POSITIVE + 1, dtype=np.uint64) << _DROPPED
        with np.errstate(all="ignore"):  # the last bins are those of infinity and of what is no number
            sizes = bits.astype(np.uint32).view(np.float32).astype(np.float64)
        low, high = self.values.low, self.values.high
        lows = np.concatenate([-sizes[1:], sizes[:-1]])[self._order]
        highs = np.concatenate([-sizes[:-1], sizes[1:]])[self._order]
        return np.clip(lows, low, high), np.clip(highs, low, high)

    @cached_property
    def masses(self) -> _Vector:
        """The share of all numbers that lies in each of these bins."""
        found = np.concatenate([self.counts[_POSITIVE:], self.counts[:_POSITIVE]])[self._order].astype(np.float64)
        return np.asarray(found / found.sum(), np.float64)

    @cached_property
    def _order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The bins that hold something, with the negative half in front and turned round."""
        negative = np.nonzero(self.counts[_POSITIVE:])[0][::-1]
        return np.concatenate([negative, _POSITIVE + np.nonzero(self.counts[:_POSITIVE])[0]])

    def share_below(self, numbers: _Vector) -> _Vector:
        """The share of all numbers that is less than each of these, ascending; even within a bin."""
        lows, highs = self.edges
        places = np.stack([lows, highs], axis=1).ravel()
        below = np.concatenate([[0.0], np.cumsum(self.masses)])
        shares = np.stack([below[:-1], below[1:]], axis=1).ravel()
        return np.asarray(np.interp(numbers, places, shares), np.float64)

    def quantile(self, share: float) -> float:
        """The number below which that share of all lies."""
        lows, highs = self.edges
        below = np.concatenate([[0.0], np.cumsum(self.masses)])
        at = min(int(np.searchsorted(below, share, side="right")) - 1, len(lows) - 1)
        part = min(max((share - below[at]) / self.masses[at], 0.0), 1.0)
        return float(lows[at] + part * (highs[at] - lows[at]))
