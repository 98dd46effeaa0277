"""Reductions over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

_REDUCTIONS = {
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
}


@lowers(*_REDUCTIONS, constants=(1,))
def reduce(node: Node, x: Laid, axes: np.ndarray[Any, Any] | None = None) -> Laid:
    """A reduction that keeps the order of the axes that stay."""
    source, keep = x.with_all_axes(), bool(node.integer("keepdims", 1))
    if axes is None or not axes.size:
        if node.integer("noop_with_empty_axes"):
            return x
        gone = list(range(source.rank))
    else:
        gone = [int(axis) % source.rank for axis in axes]
    value = getattr(tf, _REDUCTIONS[node.op])(source.value, [source.axis(axis) for axis in gone], keepdims=keep)
    if keep:
        return Laid(value, node.output_shape, source.order)
    kept = [axis for axis in range(source.rank) if axis not in gone]
    return Laid(value, node.output_shape, tuple(kept.index(axis) for axis in source.order if axis in kept))
