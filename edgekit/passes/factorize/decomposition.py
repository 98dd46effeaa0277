"""A layer's weights as a sum of products, the weightiest for its samples first; and the fit of the second half.

What counts is the output, not the weights: min E‖x M − x F S‖² over all F S of a rank is the truncated singular value
decomposition of C^½ M, where C is the covariance of x. Of a convolution, x is what the first half meets at one place,
and the places along the window's width are taken to say nothing about each other. They do; the fit of S counts with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.passes.factorize.splitting import Array, Matrix

__all__ = ["Decomposition", "Moments", "decompose", "fitted"]

# Relative to the mean square of what is multiplied: keeps the weights where the samples say nothing.
_RIDGE = 1e-4
# A direction that the input takes less than this share of the strongest counts as much.
_FLOOR = 1e-8


@dataclass(frozen=True)
class Decomposition:
    """A matrix as a sum of products.

    Attributes:
        first: (inputs · height, products): what it makes of the samples has a variance of 1 each, which int8 likes.
        second: (products, width · outputs).
        energies: (products,) of the output.
    """

    first: Matrix
    second: Matrix
    energies: Matrix

    def truncated(self, rank: int) -> Decomposition:
        """The first `rank` products."""
        return Decomposition(self.first[:, :rank], self.second[:rank], self.energies[:rank])


class Moments:
    """The second moments of x with itself and with y, about their means where the layer can shift its output."""

    def __init__(self, *, centred: bool) -> None:
        """Of no samples yet."""
        self._centred, self._count = centred, 0
        self._x, self._y = np.zeros(1), np.zeros(1)
        self._xx, self._xy = np.zeros((1, 1)), np.zeros((1, 1))

    def add(self, x: Array, y: Array) -> None:
        """Take in some places, (places, …) each."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        self._count += len(x)
        self._x, self._y = self._x + x.sum(0), self._y + y.sum(0)
        self._xx, self._xy = self._xx + x.T @ x, self._xy + x.T @ y

    @property
    def of_x(self) -> Matrix:
        """E x xᵀ."""
        return self._about(self._xx, self._x)

    @property
    def of_both(self) -> Matrix:
        """E x yᵀ."""
        return self._about(self._xy, self._y)

    def shift(self, weights: Matrix) -> Matrix:
        """What y = x W is short of on average."""
        difference: Matrix = (self._y - self._x @ weights) / self._count
        return difference

    def _about(self, products: Matrix, sums: Matrix) -> Matrix:
        mean = np.outer(self._x, sums) / self._count if self._centred else 0.0
        return (products - mean) / self._count


def decompose(matrix: Matrix, covariance: Matrix | None) -> Decomposition:
    """Products of a matrix, (inputs, outputs), by what they put out for inputs of that covariance; None: all alike."""
    if covariance is None:
        left, values, second = np.linalg.svd(matrix, full_matrices=False)
        return Decomposition(left, values[:, None] * second, values**2)
    variances, directions = np.linalg.eigh(covariance)
    scales = np.sqrt(np.maximum(variances, max(variances.max(), 1e-30) * _FLOOR))
    left, values, second = np.linalg.svd((scales[:, None] * directions.T) @ matrix, full_matrices=False)
    return Decomposition((directions / scales) @ left, values[:, None] * second, values**2)


def fitted(moments: Moments, weights: Matrix) -> Matrix:
    """The weights near `weights`, (numbers, outputs), with which x gives y best."""
    square = moments.of_x
    ridge = _RIDGE * max(np.trace(square) / len(square), 1e-30) * np.eye(len(square))
    change: Matrix = np.linalg.solve(square + ridge, moments.of_both - square @ weights)
    return weights + change
