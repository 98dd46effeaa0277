"""Ops that give a tensor another shape or order: Transpose, Reshape, Squeeze, Unsqueeze, Concat."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, axis_groups, channels_last, reshaped
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("Transpose")
def transpose(node: Node, x: Laid) -> Laid:
    """A change of the order's tag; no byte moves until an op needs another order."""
    return x.transposed(node.integers("perm", tuple(reversed(range(x.rank)))))


def _refuse_reshape(node: Node) -> str | None:
    if sum(size is None for size in node.output_shape) > 1:
        return f"Give {node.name!r} a fixed shape: edgekit can leave only the batch open."
    return None


@lowers("Reshape", "Flatten", constants=(1,), refuse=_refuse_reshape)
def reshape(node: Node, x: Laid, _shape: Array | None = None) -> Laid:
    """New sizes in the logical order. A flattening to (N, F) keeps the physical order and says so."""
    shape = node.output_shape
    if _flattens(x, shape) and x.order[0] == 0 and x.flattened is None and not _keeps_order(x):
        source = x.with_all_axes()
        source = source if source.order[0] == 0 else x.to(range(x.rank))
        return replace(Laid.logical(reshaped(source.value, shape), shape), flattened=replace(source, value=None))
    if not x.rank or not shape or 0 in shape:
        return Laid.logical(reshaped(x.in_logical_order(), shape), shape)
    source = x.unflattened()
    # The innermost axis stays innermost: what an image's axes are merged or split into lies as the image does.
    moved = sorted(axis_groups(source.shape, shape), key=lambda group: _innermost(source, group.before))
    before = [axis for group in moved for axis in group.before]
    after = [axis for group in moved for axis in group.after]
    value = source.value
    if source.big_axes(source.order) != source.big_axes(before):  # bytes must move: to the order that is asked for next
        if tuple(after) != channels_last(max(len(shape), 4)):
            before, after = list(range(x.rank)), list(range(len(shape)))
        value = source.to(before).value
    return Laid(reshaped(value, [shape[axis] for axis in after]), shape, tuple(after))


def _flattens(x: Laid, shape: tuple[int | None, ...]) -> bool:
    """Whether each row stays one; rows of an open batch may become more rows, and its size is open then, too."""
    return len(shape) == 2 and shape[0] == x.shape[0] and shape[1] == math.prod(size or 0 for size in x.shape[1:])


def _innermost(x: Laid, axes: list[int]) -> int:
    return max((x.axis(axis) for axis in axes if axis in x.order), default=-1)


@lowers("Squeeze", constants=(1,))
def squeeze(node: Node, x: Laid, axes: Array | None = None) -> Laid:
    """Drops axes of size 1."""
    source = x.unflattened()
    dropped = _axes(axes, source.rank) if axes is not None else {i for i, n in enumerate(source.shape) if n == 1}
    kept = [axis for axis in range(source.rank) if axis not in dropped]
    order = tuple(axis for axis in source.order if axis in kept)
    value = reshaped(source.value, [source.shape[axis] for axis in order])
    return Laid(value, node.output_shape, tuple(kept.index(axis) for axis in order))


@lowers("Unsqueeze", constants=(1,))
def unsqueeze(node: Node, x: Laid, axes: Array) -> Laid:
    """Adds axes of size 1; in memory they appear where an op first needs them."""
    source, shape = x.unflattened(), node.output_shape
    added = _axes(axes, len(shape))
    kept = [axis for axis in range(len(shape)) if axis not in added]
    return Laid(source.value, shape, tuple(kept[axis] for axis in source.order))


@lowers("Concat")
def concat(node: Node, *parts: Laid) -> Laid:
    """Parts side by side, in the order of the first computed one."""
    leader = next((part for part in parts if not part.constant), parts[0]).with_all_axes()
    values = [part.to(leader.order).value for part in parts]
    return Laid(tf.concat(values, leader.axis(node.integer("axis"))), node.output_shape, leader.order)


def _keeps_order(x: Laid) -> bool:
    """Whether the elements already lie as ONNX counts them."""
    return x.flattened is None and x.big_axes(x.order) == sorted(x.big_axes(x.order))


def _axes(axes: Array, rank: int) -> set[int]:
    return {int(axis) % rank for axis in np.atleast_1d(axes)}
