"""k-means in one dimension, on sorted values: a round costs k searches, however many values there are."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["k_means", "nearest"]

_Values = np.ndarray[Any, np.dtype[np.float64]]

_ROUNDS = 200
# A cluster whose error is less, as a share of all squares, is one value.
_EXACT = 1e-12


def k_means(values: _Values, mass: _Values, k: int) -> _Values:
    """At most `k` centres for `values`, ascending, of which the first is minus the last.

    Lloyd's algorithm from evenly spaced centres, which keep the few large values better than random or dense ones
    (Deep Compression, Han et al., ICLR 2016, arXiv:1510.00149). Each round moves the two outermost together, and lets a
    centre that nothing is near to split the cluster with the largest error. The same values give the same centres.

    Args:
        values: (n,), one of them not zero.
        mass: how much each counts, (n,), positive.
        k: 2 or more.
    """
    order = np.argsort(values, kind="stable")
    ordered, mass = values[order], mass[order]
    sums = np.cumsum([mass, mass * ordered, mass * ordered**2], axis=1)
    sums = np.pad(sums, ((0, 0), (1, 0)))
    top = np.abs(ordered[[0, -1]]).max()
    centres, ends = np.linspace(-top, top, k), None
    for _ in range(_ROUNDS):
        inner = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        cuts = np.concatenate([[0], inner, [values.size]])
        if ends is not None and np.array_equal(cuts, ends):
            break
        ends, (weight, moment, square) = cuts, np.diff(sums[:, cuts])
        centres = np.divide(moment, weight, out=centres.copy(), where=weight > 0)
        edge = (moment[-1] - moment[0]) / (weight[-1] + weight[0])
        # Not inside of their neighbours, which stay the outermost but one.
        edge = max(edge, *np.abs(centres[1:-1]), 0.0)
        centres[0], centres[-1] = -edge, edge
        idle = np.flatnonzero(weight[1:-1] == 0) + 1
        error = square - np.divide(moment**2, weight, out=np.zeros(k), where=weight > 0)
        worst = int(error.argmax())
        if idle.size and error[worst] > _EXACT * square.sum():
            centres[idle[0]] = (ordered[cuts[worst]] + centres[worst]) / 2
            centres.sort()
    return np.unique(centres)


def nearest(values: _Values, centres: _Values) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Of each value the index of the nearest of the ascending `centres`, in the values' shape."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
