"""Weights onto the int8 grid so that the layer's outputs, not its weights, come out nearest.

To the nearest integer, each weight for itself, is not what is best for a sum of products (Nagel et al., Up or Down?
Adaptive Rounding for Post-Training Quantization, ICML 2020, arXiv:2004.10568). Here weights are rounded one after the
other, and those still to come take up the error of each: GPTQ (Frantar et al., ICLR 2023, arXiv:2210.17323), which
solves a layer in closed form, in a fraction of a second. Its target is what the float layer gave for the float
inputs, so that it takes up what rounding in the layers in front did to the inputs, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Moments", "adapt", "grid_steps", "nearest"]

_Array = np.ndarray[Any, Any]
_Matrix = np.ndarray[Any, np.dtype[np.float64]]
# Of the mean square of an input; more where there are fewer samples than inputs, which say little of most directions.
_RIDGE = 1e-2


@dataclass
class Moments:
    """What samples say about the inputs of a layer in float, x, and where the layers in front are rounded, x'.

    Attributes:
        count: how many rows were added.
        square: the sum of x' x'ᵀ.
        missing: the sum of (x − x') x'ᵀ.
        sums: of x and of x'.
    """

    count: int
    square: _Matrix
    missing: _Matrix
    sums: tuple[_Matrix, _Matrix]

    @classmethod
    def of(cls, before: _Array, after: _Array) -> Moments:
        """Those of rows of both, (rows, numbers) each."""
        x, y = before.astype(np.float64), after.astype(np.float64)
        return cls(len(x), y.T @ y, (x - y).T @ y, (x.sum(0), y.sum(0)))

    def joined(self, other: Moments) -> Moments:
        """Of the rows of both."""
        sums = self.sums[0] + other.sums[0], self.sums[1] + other.sums[1]
        return Moments(self.count + other.count, self.square + other.square, self.missing + other.missing, sums)

    def means(self, *, centred: bool) -> tuple[_Matrix, _Matrix]:
        """E x' x'ᵀ and E (x − x') x'ᵀ; centred: about their means, for a layer whose bias makes up for those."""
        square, missing = self.square / self.count, self.missing / self.count
        if centred:
            x, y = self.sums[0] / self.count, self.sums[1] / self.count
            square, missing = square - np.outer(y, y), missing - np.outer(x - y, y)
        return square, missing


def grid_steps(weights: _Array, top: int) -> _Matrix:
    """The step of each row of weights, (rows, 1), so that the largest is `top` steps."""
    tops = np.abs(weights.astype(np.float64)).max(axis=1, initial=0.0, keepdims=True)
    return np.where(tops > 0, tops / top, 1.0)


def nearest(weights: _Array, steps: _Matrix, top: int) -> _Matrix:
    """The integers nearest to weights ÷ steps."""
    found: _Matrix = np.clip(np.rint(weights.astype(np.float64) / steps), -top, top)
    return found


def adapt(weights: _Array, moments: Moments, top: int, *, centred: bool) -> _Array:
    """Weights on the int8 grid, float32: for each row the better one of adapted and of nearest.

    Args:
        weights: (channels made, numbers read).
        moments: of the inputs.
        top: the greatest integer. The largest weight of each row is exactly that, as back ends find the step by it.
        centred: whether a bias makes up for a constant error.
    """
    square, missing = moments.means(centred=centred)
    ridge = max(_RIDGE, len(square) / moments.count) * max(np.trace(square) / len(square), 1e-30) * np.eye(len(square))
    wanted = weights.astype(np.float64)
    wanted = wanted + wanted @ np.linalg.solve(square + ridge, missing.T).T
    plain_steps, steps = grid_steps(weights, top), grid_steps(wanted, top)
    plain = nearest(weights, plain_steps, top) * plain_steps
    adapted = _sequential(wanted, square + ridge, steps, top) * steps
    better = _error(adapted - wanted, square) < _error(plain - wanted, square)
    return np.where(better[:, None], adapted, plain).astype(np.float32)


def _sequential(wanted: _Matrix, square: _Matrix, steps: _Matrix, top: int) -> _Matrix:
    """The integers, found column by column, those of the strongest inputs first."""
    order = np.argsort(-np.diag(square), kind="stable")
    rest = (wanted / steps)[:, order]
    inverse = np.linalg.inv(square[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    # The step of a row goes by its largest weight: that one stays.
    rows, largest = np.arange(len(rest)), np.abs(rest).argmax(axis=1)
    kept = np.rint(rest[rows, largest])
    found = np.empty_like(rest)
    for at in range(rest.shape[1]):
        column = np.clip(np.rint(rest[:, at]), -top, top)
        found[:, at] = column = np.where(largest == at, kept, column)
        rest[:, at + 1 :] -= np.outer((rest[:, at] - column) / factor[at, at], factor[at, at + 1 :])
    result = np.empty_like(found)
    result[:, order] = found
    return result


def _error(differences: _Matrix, square: _Matrix) -> _Matrix:
    """The mean squared error of each row's product."""
    found: _Matrix = np.einsum("ri,ij,rj->r", differences, square, differences, optimize=True)
    return found
