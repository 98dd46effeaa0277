"""How long a network takes as a function of how many channels of each group are left, from what its layers take."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.prune.costs import Kept
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.layers import layers, name_of
from edgekit.passes.prune.request import LayerTimes, TimeTable
from edgekit.passes.prune.rules import shape_of

__all__ = ["Clock", "Times"]


@dataclass(frozen=True)
class Clock:
    """What a clock said of a dense network, brought to sum up to what the whole of it takes.

    A network is more than its layers: what they leave of its time is put down to its activations, by their size.
    Where its layers take longer alone than together, all of them count for less.

    Attributes:
        surfaces: by layer.
        idle: seconds that don't depend on the network.
        whole: seconds of the dense network.
        scale: of what the layers take alone, what they take in the network.
        rest: seconds for each element of an activation.
    """

    surfaces: dict[str, Surface]
    idle: float
    whole: float
    scale: float
    rest: float

    @classmethod
    def of(cls, dense: Model, measured: LayerTimes) -> Clock:
        """The clock for `dense`, which was measured, and for what is made of it."""
        surfaces = {name: Surface(table) for name, table in measured.tables}
        alone = sum(surface.largest for surface in surfaces.values())
        elements = sum(_elements(value) for node in dense.graph for value in node.outputs)
        busy = max(measured.whole - measured.idle, 0.0)
        return cls(
            surfaces=surfaces,
            idle=measured.idle,
            whole=measured.idle + busy,
            scale=min(busy / alone, 1.0) if alone > 0 else 1.0,
            rest=max(busy - alone, 0.0) / max(elements, 1),
        )


class Surface:
    """A table that is linear between its sizes, in each axis, never falls with a size, and is level outside of them."""

    def __init__(self, table: TimeTable) -> None:
        self._sizes, self.axes = table.sizes, len(table.sizes)
        seconds = np.maximum(np.array(table.seconds, np.float64).reshape([len(sizes) for sizes in table.sizes]), 0)
        for axis in range(seconds.ndim):  # more channels never take less time: where they seem to, that was noise
            seconds = np.maximum.accumulate(seconds, axis)
        self._seconds: dict[tuple[int, ...], float] = {place: float(value) for place, value in np.ndenumerate(seconds)}
        self.largest = float(seconds.max())

    def __call__(self, sizes: Sequence[float]) -> float:
        """Seconds at these sizes."""
        corners = [_between(known, size) for known, size in zip(self._sizes, sizes, strict=True)]
        total = 0.0
        for corner in itertools.product(*corners):
            weight = 1.0
            for _, share in corner:
                weight *= share
            if weight:
                total += weight * self._seconds[tuple(place for place, _ in corner)]
        return total


@dataclass(frozen=True)
class _Layer:
    """A layer's surface, and of each of its axes the size with all channels, and what a channel of each group is."""

    surface: Surface
    axes: tuple[tuple[float, dict[int, float]], ...]

    def __call__(self, gone: Sequence[int]) -> float:
        """Seconds when so many channels of each group have gone."""
        return self.surface([size - sum(gone[at] * places for at, places in of.items()) for size, of in self.axes])


class Times:
    """Seconds of a network as a function of the channels that are left, as `costs` gives its MACs.

    Attributes:
        groups: how many channels each group has, (groups,).
        whole: seconds of the dense network, from which this one may have been made.
    """

    def __init__(self, model: Model, dependencies: Dependencies, clock: Clock) -> None:
        """What `clock` makes of a network: the measured one, or one that was made from it by pruning."""
        self.groups: Kept = np.array([group.size for group in dependencies.groups], np.int64)
        self.whole = clock.whole
        self._names, self._layers, self._scale = list[str](), list[_Layer](), clock.scale
        self._group_of = {int(root): at for at, group in enumerate(dependencies.groups) for root in group.roots}
        for node, makes, reads in layers(model.graph):
            surface = clock.surfaces.get(name_of(node))
            if surface is not None:
                ends = [makes] if reads is None else [makes, reads]
                axes = [self._axis(dependencies, end.weights, end.axis) for end in ends]
                # Pruned until each of its groups reads one channel, a grouped convolution looks depthwise.
                axes += [(1.0, {})] * (surface.axes - len(axes))
                self._names.append(name_of(node))
                self._layers.append(_Layer(surface, tuple(axes)))
        self._level, self._slope = clock.idle, np.zeros(self.groups.size)
        for value in (value for node in model.graph for value in node.outputs):
            self._add_activation(dependencies, value, clock.rest * _elements(value))
        # For each group the layers that it shrinks.
        self._touched: list[list[int]] = [[] for _ in dependencies.groups]
        for number, layer in enumerate(self._layers):
            for at in {at for _, of in layer.axes for at in of}:
                self._touched[at].append(number)

    def __call__(self, kept: Kept | None = None) -> float:
        """Seconds when `kept` channels of each group are left, (groups,); None for all."""
        kept = self.groups if kept is None else kept
        gone = (self.groups - kept).tolist()
        return self._level + float(self._slope @ kept) + self._scale * sum(layer(gone) for layer in self._layers)

    def saved(self, kept: Kept, group: int, left: int) -> float:
        """Seconds less when a group goes down from what `kept` has of it to `left` channels."""
        gone = (self.groups - kept).tolist()
        before = sum(self._layers[number](gone) for number in self._touched[group])
        gone[group] = int(self.groups[group]) - left
        after = sum(self._layers[number](gone) for number in self._touched[group])
        return self._scale * (before - after) + float(self._slope[group]) * (int(kept[group]) - left)

    def beside(self, group: int) -> set[int]:
        """The groups that shrink a layer that this one shrinks, itself included: what they save depends on it."""
        return {group} | {at for number in self._touched[group] for _, of in self._layers[number].axes for at in of}

    def by_layer(self, kept: Kept) -> dict[str, float]:
        """Seconds of each layer, and under "" of what is none."""
        gone = (self.groups - kept).tolist()
        found = {name: self._scale * layer(gone) for name, layer in zip(self._names, self._layers, strict=True)}
        return {**found, "": self(kept) - sum(found.values())}

    def _axis(self, dependencies: Dependencies, value: ir.Value, axis: int) -> tuple[float, dict[int, float]]:
        """How long an axis is, and how much shorter it gets with a channel of each group."""
        size, roots = shape_of(value)[axis] or 0, dependencies.roots(str(value.name), axis)
        owners = (
            [self._group_of[root] for root in roots.tolist() if root in self._group_of] if roots is not None else []
        )
        return float(size), {at: owners.count(at) / int(self.groups[at]) for at in set(owners)}

    def _add_activation(self, dependencies: Dependencies, value: ir.Value, seconds: float) -> None:
        """An activation shrinks with its first axis that can; it hardly ever has two."""
        for axis in range(len(shape_of(value))):
            size, of = self._axis(dependencies, value, axis)
            if of:
                for at, places in of.items():
                    self._slope[at] += seconds * places / size
                self._level += seconds * (1 - sum(int(self.groups[at]) * places for at, places in of.items()) / size)
                return
        self._level += seconds


def _between(known: tuple[int, ...], size: float) -> tuple[tuple[int, float], ...]:
    """The places of the two known sizes around this one, and the share of each."""
    place = bisect.bisect_left(known, size)
    if place == len(known):
        return ((place - 1, 1.0),)
    if place == 0 or known[place] == size:
        return ((place, 1.0),)
    share = (size - known[place - 1]) / (known[place] - known[place - 1])
    return ((place - 1, 1 - share), (place, share))


def _elements(value: ir.Value) -> int:
    """Of a sample."""
    return int(np.prod([size or 1 for size in shape_of(value)], dtype=np.int64))
