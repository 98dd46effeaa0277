"""Reductions over axes, and positions of extremes along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _plain(name: str) -> Callable[[Any, list[int], bool], Any]:
    def reduce(x: Any, axes: list[int], keep: bool) -> Any:  # noqa: FBT001
        return getattr(tf, name)(x, axes, keep)

    return reduce


def _log_sum_exp(x: Any, axes: list[int], keep: bool) -> Any:  # noqa: FBT001
    """The exponentials are taken relative to the largest, so that none overflows."""
    top = tf.reduce_max(x, axes, keepdims=True)
    total = tf.math.log(tf.reduce_sum(tf.exp(x - top), axes, keepdims=keep))
    return total + (top if keep else tf.squeeze(top, axes))


_REDUCTIONS: dict[str, Callable[[Any, list[int], bool], Any]] = {
    "ReduceL1": lambda x, axes, keep: tf.reduce_sum(tf.abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: tf.sqrt(tf.reduce_sum(tf.square(x), axes, keep)),
    "ReduceLogSum": lambda x, axes, keep: tf.math.log(tf.reduce_sum(x, axes, keep)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": lambda x, axes, keep: (tf.reduce_any if x.dtype.is_bool else tf.reduce_max)(x, axes, keep),
    "ReduceMean": _plain("reduce_mean"),
    "ReduceMin": lambda x, axes, keep: (tf.reduce_all if x.dtype.is_bool else tf.reduce_min)(x, axes, keep),
    "ReduceProd": _plain("reduce_prod"),
    "ReduceSum": _plain("reduce_sum"),
    "ReduceSumSquare": lambda x, axes, keep: tf.reduce_sum(tf.square(x), axes, keep),
}


@lowers(*_REDUCTIONS, constants=(1,))
def reduce(node: Node, x: Laid, axes: Array | None = None) -> Laid:
    """A reduction of TFLite, with a few ops around it; the axes that stay keep their order."""
    source, keep = x.with_all_axes(), bool(node.integer("keepdims", 1))
    if axes is not None and axes.size:
        gone = [int(axis) % source.rank for axis in axes]
    elif node.integer("noop_with_empty_axes"):
        gone = []
    else:
        gone = list(range(source.rank))
    value = _REDUCTIONS[node.op](source.value, [source.axis(axis) for axis in gone], keep)
    return _without(source, gone, value, node, keep=keep)


@lowers("ArgMax", "ArgMin")
def arg_extreme(node: Node, x: Laid) -> Laid:
    """Where the largest or smallest element lies along an axis: the first such place, or the last."""
    source, axis = x.with_all_axes(), node.integer("axis") % x.rank
    place, last = source.axis(axis), bool(node.integer("select_last_index"))
    value = tf.reverse(source.value, [place]) if last else source.value
    found = (tf.argmax if node.op == "ArgMax" else tf.argmin)(value, place, tf.int64)
    if last:
        found = tf.constant(value.shape[place] - 1, tf.int64) - found
    keep = bool(node.integer("keepdims", 1))
    return _without(source, [axis], tf.expand_dims(found, place) if keep else found, node, keep=keep)


@lowers("Hardmax")
def hardmax(node: Node, x: Laid) -> Laid:
    """1 at the first largest element along an axis, 0 elsewhere."""
    source = x.with_all_axes()
    place = source.axis(node.integer("axis", -1))
    return source.like(tf.one_hot(tf.argmax(source.value, place), source.value.shape[place], axis=place))


@lowers("TopK", constants=(1,))
def top_k(node: Node, x: Laid, count: Array) -> tuple[Laid, Laid]:
    """The largest or smallest elements along an axis, in order, and where they lie; TFLite wants the axis last."""
    source, axis = x.with_all_axes(), node.integer("axis", -1) % x.rank
    source = source.to([*(other for other in source.order if other != axis), axis])
    largest = bool(node.integer("largest", 1))
    values, places = tf.math.top_k(source.value if largest else -source.value, int(count.item()))
    found = values if largest else -values
    first, second = node.output_shape, node.output_shape
    return Laid(found, first, source.order), Laid(tf.cast(places, tf.int64), second, source.order)


@lowers("CumSum", constants=(1,))
def cumulative_sum(node: Node, x: Laid, axis: Array) -> Laid:
    """The sums of the elements so far along an axis."""
    source = x.with_all_axes()
    place = source.axis(int(axis.item()))
    exclusive, backwards = bool(node.integer("exclusive")), bool(node.integer("reverse"))
    return source.like(tf.cumsum(source.value, place, exclusive, backwards))


def _without(source: Laid, gone: list[int], value: Any, node: Node, *, keep: bool) -> Laid:
    """`value`, in which the axes `gone` have size 1 (`keep`) or are missing."""
    if keep:
        return Laid(value, node.output_shape, source.order)
    kept = [axis for axis in range(source.rank) if axis not in gone]
    return Laid(value, node.output_shape, tuple(kept.index(axis) for axis in source.order if axis in kept))
