"""How many channels are left between the two halves of each layer, until the MACs are what was asked for.

A layer that keeps rank r of its matrix keeps a share of the energy of its output; the shares of all layers multiply to
what the network keeps, as Zhang et al. reckon it (Accelerating Very Deep Convolutional Networks for Classification and
Detection, PAMI 2016, arXiv:1505.06798). A loss counts the more the more weights a MAC of the layer has, because what a
network can be taught afterwards is in its weights; it counts with the square root of that, half-way between both ends.
Steps are taken where they lose the least of that for each MAC that they save.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.passes.prune.schedule import TOLERANCE, halves

__all__ = ["Offer", "choose_ranks", "keep_ranks"]

# A layer that keeps nothing would lose without end.
_LEAST = 1e-9


@dataclass(frozen=True)
class Offer:
    """What a layer offers.

    Attributes:
        macs: multiply-accumulates while it is whole.
        macs_per_rank: of its halves, a channel between them.
        most: the largest rank that is worth it.
        weights: how many it has while it is whole.
        energies: of its output, by component, the largest first; as many as its matrix has ranks.
    """

    macs: int
    macs_per_rank: int
    most: int
    weights: int
    energies: np.ndarray[Any, np.dtype[np.float64]]

    def points(self, multiple: int) -> list[_Point]:
        """What it can be, the dearest first."""
        total = self.energies.sum()
        kept = np.cumsum(self.energies) / total if total > 0 else np.ones(len(self.energies))
        density = math.sqrt(self.weights / self.macs)
        return [_Point(0, self.macs, 0.0)] + [
            _Point(rank, rank * self.macs_per_rank, -density * math.log(max(kept[rank - 1], _LEAST)))
            for rank in range(self.most // multiple * multiple, 0, -multiple)
        ]


@dataclass(frozen=True)
class _Point:
    """A rank (0: whole), its MACs, and what it loses: the logarithm of the share that is kept, turned round."""

    rank: int
    macs: int
    lost: float


def _slope(before: _Point, after: _Point) -> float:
    """What a MAC less costs between the two."""
    return (after.lost - before.lost) / (before.macs - after.macs)


def _hull(points: Sequence[_Point]) -> list[_Point]:
    """Those that do not lie above a line between two others: along them, what a MAC less costs only rises."""
    hull: list[_Point] = []
    for point in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
            hull.pop()
        hull.append(point)
    return hull


def choose_ranks(layers: Sequence[Offer], macs: int, share: float, multiple: int) -> tuple[list[int], int]:
    """The rank of each layer, 0 where it stays whole, so that `share` of the MACs goes, within ±0.03.

    Args:
        layers: those that can be split.
        macs: of the whole network.
        share: of them that goes, between 0 and 1.
        multiple: ranks are multiples of it; where that misses the target, of its half, quarter, ….

    Returns:
        The ranks, and the multiple that they are of.

    Raises:
        InvalidInputError: so much can't go.
    """
    others, target = macs - sum(layer.macs for layer in layers), (1 - share) * macs
    left = 1.0
    for unit in halves(multiple):
        chosen = _walk([layer.points(unit) for layer in layers], target - others)
        left = (others + sum(point.macs for point in chosen)) / macs
        if abs(left - (1 - share)) <= TOLERANCE:
            return [point.rank for point in chosen], unit
    raise InvalidInputError(
        f"no ranks take {share:g} of the MACs here; the nearest take {1 - left:.3f}",
        blame="your recipe on this model",
        remedy=f"Ask for that: --prune {1 - left:.2f} --factorize" if left < 1 else "Build it without --factorize.",
    )


def keep_ranks(most: Sequence[int], ranks: Sequence[int]) -> Sequence[int]:
    """Ranks that were chosen before, for layers whose largest are `most`.

    Raises:
        InvalidInputError: they are of another network.
    """
    if len(ranks) != len(most) or any(not 0 <= rank <= limit for rank, limit in zip(ranks, most, strict=True)):
        raise InvalidInputError(
            f"the ranks that were to be kept, {list(ranks)}, are not of this network, whose layers have at most"
            f" {list(most)}",
            blame="your edgekit.lock",
            remedy="Remove it and build again; the choice is then made anew.",
        )
    return ranks


def _walk(layers: Sequence[Sequence[_Point]], target: float) -> list[_Point]:
    """Go down from whole layers, the cheapest steps first; the one that would cross the target goes as far as that."""
    hulls = [_hull(points) for points in layers]
    steps = sorted(
        (_slope(before, after), at, place)
        for at, hull in enumerate(hulls)
        for place, (before, after) in enumerate(itertools.pairwise(hull), 1)
    )
    chosen = [hull[0] for hull in hulls]
    left = sum(point.macs for point in chosen)
    for _, at, place in steps:
        others = left - chosen[at].macs
        if others + hulls[at][place].macs < target:
            chosen[at] = min(layers[at], key=lambda point: abs(others + point.macs - target))
            break
        chosen[at], left = hulls[at][place], others + hulls[at][place].macs
    return chosen
