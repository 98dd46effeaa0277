"""Ops that make values from positions: OneHot, Trilu, EyeLike, ReverseSequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, broadcast
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("OneHot", constants=(1, 2))
def one_hot(node: Node, indices: Laid, depth: Array, values: Array) -> Laid:
    """`on` where an index points, `off` elsewhere, along a new axis; negative indices count from the end."""
    size = int(depth.item())
    index = tf.cast(indices.in_logical_order(), tf.int32)
    index = tf.where(tf.less(index, 0), index + size, index)
    off, on = values
    axis = node.integer("axis", -1) % (indices.rank + 1)
    return Laid.logical(tf.one_hot(index, size, on, off, axis, values.dtype), node.output_shape)


@lowers("Trilu", constants=(1,))
def triangle(node: Node, x: Laid, shift: Array | None = None) -> Laid:
    """The upper or lower triangle of the last two axes; zeros elsewhere."""
    offset = 0 if shift is None else int(shift.item())
    whole = np.ones([size or 1 for size in x.shape[-2:]], np.bool_)
    mask = np.triu(whole, offset) if node.integer("upper", 1) else np.tril(whole, offset)
    (kept, value), order = broadcast([Laid.logical(tf.constant(mask), mask.shape, constant=True), x])
    return Laid(tf.where(kept, value, tf.zeros_like(value)), node.output_shape, order)


@lowers("EyeLike")
def eye_like(node: Node, x: Laid) -> Laid:
    """1 on a diagonal, 0 elsewhere, in the shape of the input."""
    rows, columns = x.in_logical_order().shape
    wanted = node.integer("dtype")
    dtype = ir.DataType(wanted).numpy() if wanted else x.value.dtype.as_numpy_dtype
    return Laid.logical(tf.constant(np.eye(rows, columns, node.integer("k"), dtype)), node.output_shape)


@lowers("ReverseSequence")
def reverse_sequence(node: Node, x: Laid, lengths: Laid) -> Laid:
    """The first elements of each sequence of a batch in reverse."""
    source = x.with_all_axes()
    time, batch = source.axis(node.integer("time_axis", 0)), source.axis(node.integer("batch_axis", 1))
    return source.like(tf.reverse_sequence(source.value, lengths.in_logical_order(), time, batch))
