"""Ops that take a part of a tensor along its axes: Slice, Split, and their inverse by repetition, Expand and Tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("Slice", constants=(1, 2, 3, 4))
def slice_(node: Node, x: Laid, *bounds: Array | None) -> Laid:
    """A range along each axis; negative steps go backwards."""
    starts, ends, axes, steps = (*bounds, None, None)[:4]
    assert starts is not None
    assert ends is not None
    source = x.with_all_axes()
    chosen = range(len(starts)) if axes is None else [int(axis) % source.rank for axis in axes]
    ranges = [slice(None)] * source.rank
    for i, axis in enumerate(chosen):
        size = source.shape[axis]
        if size is None:
            continue  # the open batch: a Model takes all of it
        taken = range(size)[int(starts[i]) : int(ends[i]) : 1 if steps is None else int(steps[i])]
        if taken != range(size):
            stop = None if taken.stop < 0 else taken.stop
            ranges[source.axis(axis)] = slice(taken.start, stop, taken.step)
    whole = all(part == slice(None) for part in ranges)
    return Laid(source.value if whole else source.value[tuple(ranges)], node.output_shape, source.order)


@lowers("Split", constants=(1,))
def split(node: Node, x: Laid, _sizes: Array | None = None) -> tuple[Laid, ...]:
    """Parts along an axis, as large as the outputs are."""
    source, axis = x.with_all_axes(), node.integer("axis") % x.rank
    sizes = [shape[axis] for shape in node.output_shapes]
    parts = tf.split(source.value, len(sizes) if len(set(sizes)) == 1 else sizes, source.axis(axis))
    return tuple(Laid(part, shape, source.order) for part, shape in zip(parts, node.output_shapes, strict=True))


@lowers("Expand", constants=(1,))
def expand(node: Node, x: Laid, _shape: Array) -> Laid:
    """Axes of size 1 repeated, and new ones in front."""
    shape = node.output_shape
    source = x.with_all_axes().expanded(len(shape)).with_all_axes()
    return Laid(_broadcast(source.value, [shape[axis] for axis in source.order]), shape, source.order)


@lowers("Tile", constants=(1,))
def tile(node: Node, x: Laid, repeats: Array) -> Laid:
    """The tensor repeated along its axes."""
    source = x.with_all_axes()
    counts = [int(repeats[axis]) for axis in source.order]
    return Laid(tf.tile(source.value, counts), node.output_shape, source.order)


def _broadcast(value: Any, sizes: list[int | None]) -> Any:
    known = value.shape.as_list()
    wanted = [have if size is None else size for size, have in zip(sizes, known, strict=True)]
    if wanted == known:
        return value
    if None in wanted:
        wanted[wanted.index(None)] = tf.shape(value)[wanted.index(None)]
    return tf.broadcast_to(value, wanted)
