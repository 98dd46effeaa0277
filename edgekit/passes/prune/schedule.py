"""How many channels go, and which, until the MACs are what was asked for."""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.model import Model
from edgekit.passes.prune.channels import Channels
from edgekit.passes.prune.costs import Costs, Kept, Volume, costs
from edgekit.passes.prune.dependencies import Dependencies, Group, Role
from edgekit.passes.prune.importance import Scores

__all__ = [
    "CLOSE", "TOLERANCE", "Choice", "Schedule", "allowed_sizes", "choose", "halves", "keep", "least_important",
    "require_prunable", "require_share",
]  # fmt: skip

# How far the MACs may be from what was asked for, as a share of all: channels go in whole steps.
TOLERANCE = 0.03
# Near enough to stop looking for something nearer.
CLOSE = 0.002
# Behind every share times weights a MAC.
_LAST = 1e9


class Schedule(enum.StrEnum):
    """How the removal is spread over the groups.

    UNIFORM takes the same share of every group; importance decides which channels of a group go.
    GLOBAL ranks the channels of all groups by their importance relative to their group's mean.
    CAPACITY takes the more of a group the fewer weights its MACs have: a weight near an image's resolution costs many
    times the MACs of one behind it, and what a network can be taught is in its weights. No group loses a larger share
    of its channels than there is of MACs to lose, unless the others don't suffice. Worse than UNIFORM before training.
    """

    UNIFORM = "uniform"
    GLOBAL = "global"
    CAPACITY = "capacity"


@dataclass(frozen=True)
class Choice:
    """What is to be removed.

    Attributes:
        kept: how many channels of each group stay.
        removed: the `roots` of the channels that go, as `remove_channels` takes them.
        macs: what is left, as a share of all.
        multiple: groups larger than this keep a multiple of it, or all.
    """

    kept: tuple[int, ...]
    removed: Channels
    macs: float
    multiple: int


@dataclass(frozen=True)
class _Step:
    """A group goes down to its next size; steps are taken in the order of `key`."""

    key: float
    group: int
    kept: int


def require_share(ratio: float) -> None:
    """Raise for a ratio that is no share.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < ratio < 1:
        raise UsageError(
            f"the pruning ratio is the share of the MACs that goes, between 0 and 1; {ratio:g} is not",
            blame="the command line",
            remedy="Give for example --prune 0.5, which removes half of the MACs.",
        )


def require_prunable(dependencies: Dependencies) -> None:
    """Raise where nothing can be pruned.

    Raises:
        InvalidInputError: says why the channels of the layers stay.
    """
    if not any(group.size > 1 for group in dependencies.groups):
        reasons = [f"{layer} stays because {reason}" for layer, reason in dependencies.frozen.items()]
        because = "; ".join(reasons[:3]) or "no layer with weights reads what another one makes"
        raise InvalidInputError(
            f"there is nothing to prune here, because no channel can go: {because}",
            blame="your model",
            remedy="Build it without pruning; see every layer with: edgekit explain --pruning MODEL",
        )


def choose(
    model: Model,
    dependencies: Dependencies,
    scores: Scores,
    ratio: float,
    *,
    schedule: Schedule = Schedule.UNIFORM,
    multiple: int = 1,
) -> Choice:
    """Choose the channels to remove so that `ratio` of the MACs goes, within ±0.03.

    Args:
        model: what `dependencies` was found out about.
        dependencies: from `analyse`.
        scores: the importance of each channel of each group; the least important go.
        ratio: the share of the MACs that goes, between 0 and 1.
        schedule: how it is spread over the groups.
        multiple: a group keeps a multiple of it (of channels of the layer that makes them), or all, so that a group
            that is no larger stays whole. Where the target is missed that way, these small groups keep a multiple of
            its half, quarter, …; and where that misses it, too, all do.

    Raises:
        UsageError: the ratio is not between 0 and 1.
        InvalidInputError: nothing can go, or not that much, or only in steps that miss the target.
    """
    require_share(ratio)
    require_prunable(dependencies)
    cost = costs(model, dependencies)
    macs = cost.macs
    if macs() == 0:
        raise InvalidInputError(
            "there is nothing to prune here, because the model has no layer that multiplies by weights",
            blame="your model",
            remedy="Build it without pruning.",
        )
    missed = None
    spread = _spread(schedule, dependencies.groups, scores, cost, ratio)
    for unit, whole in itertools.product(halves(multiple), (True, False)):
        sizes = [allowed_sizes(group, unit, whole=whole) for group in dependencies.groups]
        kept = _walk(_ordered(sizes, spread), macs, 1 - ratio)
        left = macs(kept) / macs()
        if abs(left - (1 - ratio)) <= TOLERANCE:
            return Choice(tuple(kept.tolist()), least_important(dependencies.groups, kept, scores), left, unit)
        missed = _missed(macs, sizes, left, ratio)
    assert missed is not None
    raise missed


def keep(model: Model, dependencies: Dependencies, scores: Scores, kept: Sequence[int]) -> Choice:
    """The choice that keeps as many channels of each group as `kept` says: one that was made before.

    Raises:
        InvalidInputError: `kept` is of another network.
    """
    sizes = [group.size for group in dependencies.groups]
    if len(kept) != len(sizes) or any(not 0 < left <= size for left, size in zip(kept, sizes, strict=True)):
        raise InvalidInputError(
            f"the channels that were to be kept, {list(kept)}, are not of this network, whose groups have {sizes}",
            blame="your edgekit.lock",
            remedy="Remove it and build again; the choice is then made anew.",
        )
    macs, left = costs(model, dependencies).macs, np.array(kept, np.int64)
    return Choice(tuple(kept), least_important(dependencies.groups, left, scores), macs(left) / macs(), 1)


def least_important(groups: Sequence[Group], kept: Kept, scores: Scores) -> Channels:
    """The `roots` of the least important channels of each group, which go when `kept` of each stay."""
    return np.concatenate(
        [
            group.roots[np.argsort(score, kind="stable")[: group.size - left]]
            for group, left, score in zip(groups, kept.tolist(), scores, strict=True)
        ]
    )


def halves(multiple: int) -> Iterator[int]:
    """The multiple, its half, its quarter, …, to 1."""
    while multiple:
        yield multiple
        multiple //= 2


def allowed_sizes(group: Group, multiple: int, *, whole: bool) -> list[int]:
    """How many channels the group may keep, the most first; one is always left.

    A channel that takes several places in the layer that makes it (an attention head) counts for all of them. Without
    `whole` a group that is no larger than the multiple keeps a multiple of its half, quarter, ….
    """
    places = next((m.channels.shape[1] for m in group.members if m.role is Role.MAKES), 1)
    unit = multiple // math.gcd(multiple, places)
    if not whole:
        unit = next(half for half in halves(unit) if half < group.size or half == 1)
    return [group.size, *range((group.size - 1) // unit * unit, 0, -unit)]


# When a group, by its number, goes down from one size to another: never earlier than before.
_Spread = Callable[[int, int, int], float]


def _ordered(sizes: Sequence[list[int]], spread: _Spread) -> list[_Step]:
    steps = [
        _Step(spread(at, before, kept), at, kept)
        for at, allowed in enumerate(sizes)
        for before, kept in itertools.pairwise(allowed)
    ]
    return sorted(steps, key=lambda step: (step.key, step.group, -step.kept))


def _spread(schedule: Schedule, groups: Sequence[Group], scores: Scores, cost: Costs, ratio: float) -> _Spread:
    def uniform(at: int, _: int, kept: int) -> float:
        return 1 - kept / groups[at].size

    means = [float(score.mean()) for score in scores]
    ascending = [np.sort(score) / (mean or 1.0) for score, mean in zip(scores, means, strict=True)]

    def ranked(at: int, before: int, kept: int) -> float:
        size = groups[at].size
        return float(ascending[at][size - before : size - kept].mean())

    full = np.array([group.size for group in groups], np.int64)
    ones = np.eye(full.size, dtype=np.int64)
    weights, products = (
        np.array([volume() - volume(full - one) for one in ones]) for volume in (cost.params, cost.macs)
    )
    density = np.divide(weights, products, out=np.full(full.size, np.inf), where=products > 0)

    def by_capacity(at: int, before: int, kept: int) -> float:
        share = uniform(at, before, kept)
        return share * float(density[at]) if share <= ratio else _LAST + share

    return {Schedule.UNIFORM: uniform, Schedule.GLOBAL: ranked, Schedule.CAPACITY: by_capacity}[schedule]


def _walk(steps: Sequence[_Step], macs: Volume, target: float) -> Kept:
    """Take steps in order as long as the MACs stay above the target, then those that still bring them nearer."""

    def after(count: int) -> Kept:
        kept = macs.groups.copy()
        for step in steps[:count]:
            kept[step.group] = step.kept
        return kept

    low, high = 0, len(steps)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if macs(after(middle)) >= target * macs() else (low, middle - 1)
    kept, stopped = after(low), set[int]()
    distance = abs(macs(kept) / macs() - target)
    for step in steps[low:]:
        if distance <= CLOSE:
            break
        if step.group in stopped:
            continue
        trial = kept.copy()
        trial[step.group] = step.kept
        there = abs(macs(trial) / macs() - target)
        if there < distance:
            kept, distance = trial, there
        else:
            stopped.add(step.group)
    return kept


def _missed(macs: Volume, sizes: Sequence[list[int]], left: float, ratio: float) -> InvalidInputError:
    least = macs(np.array([allowed[-1] for allowed in sizes])) / macs()
    blame = "your recipe on this model"
    if left - TOLERANCE > 1 - ratio and left <= least + TOLERANCE:
        return InvalidInputError(
            f"at most {1 - least:.3f} of the MACs can go here, not {ratio:g}: the rest is in channels that stay",
            blame=blame,
            remedy=f"Ask for less, like --prune {math.floor(100 * (1 - least)) / 100:g}; what stays, and why, says:"
            " edgekit explain --pruning MODEL",
        )
    return InvalidInputError(
        f"no whole number of channels takes {ratio:g} of the MACs here; the nearest takes {1 - left:.3f}",
        blame=blame,
        remedy=f"Ask for that: --prune {1 - left:.2f}",
    )
