"""Which channels go so that a network takes as long as was asked for: those whose loss is paid best in seconds."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.passes.prune.costs import Kept, costs
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.importance import Scores
from edgekit.passes.prune.schedule import (
    CLOSE,
    TOLERANCE,
    Choice,
    allowed_sizes,
    halves,
    least_important,
    require_prunable,
)
from edgekit.passes.prune.times import Clock, Times

__all__ = ["TimeLimit", "choose_in_time"]

# What saves less than this share of the time saves nothing: the next smaller size of the group is looked at.
_NOTHING = 1e-4


@dataclass(frozen=True)
class TimeLimit:
    """How long a network may take, by which clock."""

    clock: Clock
    seconds: float


def choose_in_time(
    model: Model, dependencies: Dependencies, scores: Scores, times: Times, seconds: float, *, multiple: int = 1
) -> Choice:
    """Choose the channels to remove so that the network takes `seconds`, within ±0.03 of what the dense one takes.

    Step by step that group shrinks which loses least importance for each second that it saves. What a group loses is
    the logarithm of its importance: to halve a group costs the same however large it is, and the last channels most.

    Args:
        model: what `dependencies` was found out about.
        dependencies: from `analyse`.
        scores: the importance of each channel of each group; the least important go.
        times: seconds as a function of the channels that are left.
        seconds: what is to be met.
        multiple: as of `choose`.

    Raises:
        InvalidInputError: nothing can go, or it doesn't get that fast, or only in steps that miss the target.
    """
    require_prunable(dependencies)
    missed, macs = None, costs(model, dependencies).macs
    for unit, whole in itertools.product(halves(multiple), (True, False)):
        sizes = [allowed_sizes(group, unit, whole=whole) for group in dependencies.groups]
        kept = _descend(times, sizes, _losses(sizes, scores), seconds)
        if abs(times(kept) - seconds) <= TOLERANCE * times.whole:
            removed = least_important(dependencies.groups, kept, scores)
            return Choice(tuple(kept.tolist()), removed, macs(kept) / max(macs(), 1), unit)
        missed = _missed(times, sizes, kept, seconds)
    assert missed is not None
    raise missed


class _Step(NamedTuple):
    """A group goes down to its size number `size`; of steps that are as dear, the one of the earlier group is taken."""

    price: float  # loss for each second that is saved
    group: int
    size: int
    saved: float
    version: int


def _descend(times: Times, sizes: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], seconds: float) -> Kept:
    """Take the cheapest steps until the time is met; a step that leads farther from it ends its group's."""
    kept, at, versions = times.groups.copy(), [0] * len(sizes), [0] * len(sizes)
    now, steps = times(kept), list[_Step]()

    def offer(group: int) -> None:
        """Put the next step of a group that saves anything among the steps; what was there of it no longer counts."""
        versions[group] += 1
        for size in range(at[group] + 1, len(sizes[group])):
            saved = times.saved(kept, group, sizes[group][size])
            if saved > _NOTHING * times.whole:
                price = (losses[group][size] - losses[group][at[group]]) / saved
                heapq.heappush(steps, _Step(price, group, size, saved, versions[group]))
                return

    for group in range(len(sizes)):
        offer(group)
    stopped = set[int]()
    while steps and now - seconds > CLOSE * times.whole:
        step = heapq.heappop(steps)
        if step.version != versions[step.group] or step.group in stopped:
            continue
        if abs(now - step.saved - seconds) >= abs(now - seconds):
            stopped.add(step.group)
            continue
        at[step.group], now = step.size, now - step.saved
        kept[step.group] = sizes[step.group][step.size]
        for group in times.beside(step.group):
            offer(group)
    return kept


def _losses(sizes: Sequence[Sequence[int]], scores: Scores) -> list[list[float]]:
    """For each allowed size of each group what it loses: -ln of the share of its importance that stays."""
    return [
        [-float(np.log(share)) for share in _shares(allowed, score)]
        for allowed, score in zip(sizes, scores, strict=True)
    ]


def _shares(allowed: Sequence[int], score: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the most important channels have of a group's importance, for each size; never quite nothing."""
    # A little is in every channel: a group whose channels all score nothing shrinks evenly.
    descending = np.sort(np.maximum(score, 0))[::-1].astype(np.float64)
    descending = descending + max(1e-6 * descending.mean(), 1e-30)
    shares: np.ndarray[Any, Any] = np.cumsum(descending)[np.array(allowed) - 1] / descending.sum()
    return shares


def _missed(times: Times, sizes: Sequence[Sequence[int]], kept: Kept, seconds: float) -> InvalidInputError:
    smallest = np.array([allowed[-1] for allowed in sizes])
    whole, least, blame = times.whole, times(smallest), "your recipe on this model"
    wanted, most = whole / seconds, whole / least
    if times(kept) > seconds and times(kept) <= least + TOLERANCE * whole:
        return InvalidInputError(
            f"at most {most:.1f}× the speed can be had here, not {wanted:.1f}×, because {_what_stays(times, smallest)}",
            blame=blame,
            remedy=f"Ask for less, like --speedup {max(most * 0.9, 1.01):.2f}; what stays, and why, says:"
            " edgekit explain --pruning MODEL",
        )
    return InvalidInputError(
        f"no whole number of channels makes it {wanted:.2f}× as fast here; the nearest makes it"
        f" {whole / times(kept):.2f}×",
        blame=blame,
        remedy=f"Ask for that: --speedup {whole / times(kept):.2f}",
    )


def _what_stays(times: Times, smallest: Kept) -> str:
    """The layers that take most of the time that is left, and how much."""
    found = times.by_layer(smallest)
    rest, named = found.pop(""), sorted(found.items(), key=lambda item: -item[1])[:3]
    parts = [f"{layer} {seconds / times.whole:.0%}" for layer, seconds in named]
    return f"of the time these stay: {', '.join(parts)}, and what is no layer with weights {rest / times.whole:.0%}"
