"""Ops that pick elements by index: Gather, GatherElements, GatherND, and their inverses that scatter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, reshaped
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("Gather")
def gather(node: Node, x: Laid, indices: Laid) -> Laid:
    """Slices along an axis; the axes of the indices take its place. One constant index is a Slice."""
    source, axis = x.with_all_axes(), node.integer("axis") % x.rank
    place, index = source.axis(axis), _from_the_front(node, indices, source.shape[axis])
    if indices.constant and indices.rank == 0:
        number = int(_constant(node, 1)) % (source.shape[axis] or 1)
        ranges: list[slice | int] = [slice(None)] * source.rank
        ranges[place] = number
        value = source.value[tuple(ranges)]
    else:
        value = tf.gather(source.value, index, axis=place)
    moved = [other if other < axis else other + indices.rank - 1 for other in source.order]
    order = [*moved[:place], *range(axis, axis + indices.rank), *moved[place + 1 :]]
    return Laid(value, node.output_shape, tuple(order))


@lowers("GatherND")
def gather_nd(node: Node, x: Laid, indices: Laid) -> Laid:
    """Slices at tuples of indices; the first `batch_dims` axes go together."""
    batch = node.integer("batch_dims")
    index = _from_the_front(node, indices, *x.shape[batch : batch + (indices.shape[-1] or 0)], last=True)
    return Laid.logical(tf.gather_nd(x.in_logical_order(), index, batch_dims=batch), node.output_shape)


@lowers("GatherElements")
def gather_elements(node: Node, x: Laid, indices: Laid) -> Laid:
    """One element for each index: a Gather from the flat tensor."""
    axis = node.integer("axis") % x.rank
    value = x.in_logical_order()
    places = _flat_places(node, value, indices, axis)
    return Laid.logical(tf.gather(reshaped(value, (math.prod(value.shape),)), places), node.output_shape)


def _refuse_reduction(node: Node) -> str | None:
    reduction = node.text("reduction", "none")
    return None if reduction in _SCATTERS else f"Replace {node.name!r}: TFLite scatters no {reduction!r}."


@lowers("ScatterElements", refuse=_refuse_reduction)
def scatter_elements(node: Node, x: Laid, indices: Laid, updates: Laid) -> Laid:
    """The flat tensor with an element replaced, or combined, at each index."""
    axis = node.integer("axis") % x.rank
    value = x.in_logical_order()
    shape = value.shape.as_list()
    places = tf.reshape(_flat_places(node, value, indices, axis), (-1, 1))
    flat = reshaped(value, (math.prod(shape),))
    changed = _SCATTERS[node.text("reduction", "none")](flat, places, tf.reshape(updates.in_logical_order(), (-1,)))
    return Laid.logical(tf.reshape(changed, shape), node.output_shape)


@lowers("ScatterND", refuse=_refuse_reduction)
def scatter_nd(node: Node, x: Laid, indices: Laid, updates: Laid) -> Laid:
    """The tensor with a slice replaced, or combined, at each tuple of indices."""
    index = _from_the_front(node, indices, *x.shape[: indices.shape[-1]], last=True)
    changed = _SCATTERS[node.text("reduction", "none")](x.in_logical_order(), index, updates.in_logical_order())
    return Laid.logical(changed, node.output_shape)


def _update(value: Any, places: Any, updates: Any) -> Any:
    return tf.tensor_scatter_nd_update(value, places, updates)


def _add(value: Any, places: Any, updates: Any) -> Any:
    return value + tf.scatter_nd(places, updates, value.shape)


_SCATTERS = {"none": _update, "add": _add}


def _constant(node: Node, index: int) -> Array:
    found = node.constant(index)
    assert found is not None
    return found


def _from_the_front(node: Node, indices: Laid, *sizes: int | None, last: bool = False) -> Any:
    """The indices, counted from the front: constant negative ones are changed, computed ones are taken as they are."""
    if not indices.constant:
        return indices.in_logical_order()
    array = _constant(node, 1)
    limits = np.array([size or 1 for size in sizes], array.dtype)
    return np.where(array < 0, array + (limits if last else limits[0]), array).astype(np.int32)


def _flat_places(node: Node, value: Any, indices: Laid, axis: int) -> Any:
    """Where each index along `axis` points to in the flat tensor."""
    shape = value.shape.as_list()
    index = _from_the_front(node, indices, shape[axis])
    strides = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    grid = np.indices(index.shape)
    others = sum((grid[place] * strides[place] for place in range(len(shape)) if place != axis), np.zeros(index.shape))
    return index * strides[axis] + others.astype(index.dtype.as_numpy_dtype if tf.is_tensor(index) else index.dtype)
