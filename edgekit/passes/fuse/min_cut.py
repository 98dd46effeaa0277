"""The cheapest way to put connected things on two sides: a minimum cut by augmenting paths (Edmonds and Karp, 1972)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable

__all__ = ["Network"]


class Network:
    """A flow network. An edge costs its capacity when its tail ends up on the first side and its head on the second."""

    def __init__(self) -> None:
        self._free: dict[Hashable, dict[Hashable, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, tail: Hashable, head: Hashable, capacity: int) -> None:
        """Add an edge, or capacity to one that is there."""
        self._free[tail][head] += capacity
        self._free[head][tail] += 0

    def second_side(self, first: Hashable, second: Hashable) -> set[Hashable]:
        """What lies on `second`'s side of a minimum cut; of several cuts, the one where that is the least."""
        while (path := self._path(first, second)) is not None:
            for tail, head in path:
                self._free[tail][head] -= 1
                self._free[head][tail] += 1
        reached, waiting = {second}, [second]
        while waiting:
            head = waiting.pop()
            for tail in self._free[head]:
                if tail not in reached and self._free[tail][head] > 0:
                    reached.add(tail)
                    waiting.append(tail)
        return reached

    def _path(self, first: Hashable, second: Hashable) -> list[tuple[Hashable, Hashable]] | None:
        """The edges of a shortest path that still has room, or None."""
        came: dict[Hashable, Hashable] = {first: first}
        waiting = deque([first])
        while waiting:
            tail = waiting.popleft()
            for head, room in self._free[tail].items():
                if room > 0 and head not in came:
                    came[head] = tail
                    waiting.append(head)
            if second in came:
                break
        if second not in came:
            return None
        path, at = [], second
        while at != first:
            path.append((came[at], at))
            at = came[at]
        return path
