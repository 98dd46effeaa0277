"""Pad: TFLite's own ops where they do it, else a Gather along each axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("Pad", constants=(1, 2, 3))
def pad(node: Node, x: Laid, pads: Array, value: Array | None = None, axes: Array | None = None) -> Laid:
    """Padding in front of and behind the axes; a negative one cuts off."""
    source, mode = x.with_all_axes(), node.text("mode", "constant")
    chosen = range(source.rank) if axes is None else [int(axis) % source.rank for axis in axes]
    edges = [(0, 0)] * source.rank
    for index, axis in enumerate(chosen):
        edges[source.axis(axis)] = int(pads[index]), int(pads[index + len(pads) // 2])
    if mode == "constant":
        padded = _with_constant(source.value, edges, value)
    else:
        padded = _with_own_elements(source.value, edges, mode)
    return Laid(padded, node.output_shape, source.order)


def _with_constant(value: Any, edges: list[tuple[int, int]], filler: Array | None) -> Any:
    if any(size < 0 for edge in edges for size in edge):
        value = value[tuple(slice(max(-before, 0), min(after, 0) or None) for before, after in edges)]
        edges = [(max(before, 0), max(after, 0)) for before, after in edges]
    return tf.pad(value, edges) if filler is None or not filler.any() else tf.pad(value, edges, constant_values=filler)


def _with_own_elements(value: Any, edges: list[tuple[int, int]], mode: str) -> Any:
    """The tensor goes on beyond its edge: mirrored, with its last element, or from its other end."""
    sizes = value.shape.as_list()
    within = all(0 <= amount < (size or 1) for edge, size in zip(edges, sizes, strict=True) for amount in edge)
    if mode == "reflect" and within:
        return tf.pad(value, edges, "REFLECT")
    for axis, (before, after) in enumerate(edges):
        if before or after:
            places = np.arange(-before, sizes[axis] + after)
            value = tf.gather(value, _inside(places, sizes[axis], mode).astype(np.int32), axis=axis)
    return value


def _inside(places: Array, size: int, mode: str) -> Array:
    """The element that stands for each place beyond the edges."""
    if mode == "edge":
        return np.clip(places, 0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(2 * (size - 1), 1)
    folded = places % period
    return np.minimum(folded, period - folded) if size > 1 else places * 0
