"""Channels as elements of disjoint sets: what is in one set can only go together.

Union by size with path halving (Tarjan and van Leeuwen 1984), so that a network's sets cost time in proportion to its
channels. Every union remembers the node that asked for it: that is what an explanation is made of.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ChannelSets", "Channels", "Link"]

# One element a channel of an axis, in order; None for an axis that stays as it is.
Channels = np.ndarray[Any, np.dtype[np.int64]]


class Link(NamedTuple):
    """Why two channels share a set: the node that joins them."""

    other: int
    node: str


class ChannelSets:
    """Disjoint sets of channels; element 0 is frozen, and so is whatever joins its set."""

    FROZEN = 0

    def __init__(self) -> None:
        self._parent = [0]
        self._size = [1]
        self._links: dict[int, list[Link]] = defaultdict(list)
        self._reasons: dict[int, str] = {}

    def new(self, count: int) -> Channels:
        """`count` channels, each in a set of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self._size.extend([1] * count)
        return np.arange(first, first + count)

    def find(self, element: int) -> int:
        """The element that stands for the set."""
        parent = self._parent
        while parent[element] != element:
            parent[element] = element = parent[parent[element]]
        return element

    def roots(self, channels: Channels) -> Channels:
        """For each channel the element that stands for its set."""
        return np.fromiter(map(self.find, channels.tolist()), np.int64, channels.size)

    def all_roots(self) -> Channels:
        """`roots` of every element there is."""
        return self.roots(np.arange(len(self._parent)))

    def unite(self, left: Channels, right: Channels, node: str) -> None:
        """Join the sets of two axes, channel by channel.

        Args:
            left, right: of one length.
            node: the name of the node that asks for it.
        """
        for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
            self._join(a, b, node)

    def freeze(self, channels: Channels, reason: str) -> None:
        """Say that these must stay.

        Args:
            channels: elements.
            reason: a sentence; the first one that a channel is given counts.
        """
        for channel in channels.ravel().tolist():
            self._reasons.setdefault(channel, reason)
            self._join(channel, self.FROZEN, "")

    def is_frozen(self, channels: Channels) -> bool:
        """Whether all of them must stay."""
        frozen = self.find(self.FROZEN)
        return all(self.find(channel) == frozen for channel in channels.ravel().tolist())

    def reasons(self) -> dict[int, str]:
        """For each channel that must stay why: the reason given for it, or for the nearest one that it goes with."""
        found = dict(self._reasons)
        for link in self.links(self.FROZEN):
            found.setdefault(link.other, f"{link.node} joins them with what has no channels that could go")
        queue = deque((channel, reason, False) for channel, reason in found.items())
        while queue:
            channel, reason, told = queue.popleft()
            for link in self.links(channel):
                if link.other not in found and link.other != self.FROZEN:
                    # The first step says by which node; from there on it is the same story.
                    story = reason if told else f"{reason}, and {link.node} joins them"
                    found[link.other] = story
                    queue.append((link.other, story, True))
        return found

    def links(self, channel: int) -> list[Link]:
        """The channels that were joined with this one directly, each with the node that asked for it."""
        return self._links.get(channel, [])

    def _join(self, a: int, b: int, node: str) -> None:
        if a == b:
            return
        self._links[a].append(Link(b, node))
        self._links[b].append(Link(a, node))
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]
