"""What is left of each layer's input takes over what has gone, by least squares on calibration samples, without labels.

The weights W' of a layer that lost inputs are to give what W gave: min E‖W x − W' x'‖², where x is the input in the
dense network and x' what is left of it in the pruned one, whose layers in front are compensated already. That is the
reconstruction of He et al. (Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017, arXiv:1707.06168),
asymmetric as theirs, in closed form: x is regressed on x' channel by channel, x ≈ B x', and W' = W B. For dense layers
and 1 × 1 convolutions this is the least-squares solution itself; for a larger window it is the best that is the same at
every place of the window, and needs channels² moments instead of (channels × window)².
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.matrices import MAX_WIDTH
from edgekit.passes.prune.dependencies import Dependencies, Mask
from edgekit.passes.prune.layers import WeightAxis, layers
from edgekit.passes.prune.rules import shape_of
from edgekit.passes.walk import Walk, affordable, rows

__all__ = ["compensate"]

_Array = np.ndarray[Any, Any]
_Matrix = np.ndarray[Any, np.dtype[np.float64]]

# Ridge, relative to the mean square of a channel: keeps the weights where the samples say nothing.
_RIDGE = 1e-3
# Of the places in a few images so many say as much as all of them.
_ROWS = 16384


def compensate(
    dense: Model,
    pruned: Model,
    dependencies: Dependencies,
    removed: np.ndarray[Any, np.dtype[np.int64]],
    samples: Mapping[str, np.ndarray[Any, Any]],
) -> int:
    """Change the weights of `pruned` in place so that its layers give what those of `dense` gave.

    Grouped convolutions, weights that several layers share, and inputs wider than `MAX_WIDTH` stay as they are.

    Args:
        dense: the Model before pruning.
        pruned: `remove_channels(dense, dependencies, removed)`.
        dependencies: from `analyse(dense)`.
        removed: the roots of the channels that went.
        samples: calibration inputs by name, (samples, …) each.

    Returns:
        How many layers were compensated.
    """
    kept = dependencies.kept(removed)
    original = {reads.layer: (node, reads) for node, _, reads in layers(dense.graph) if reads is not None}
    todo = []
    for node, _, reads in layers(pruned.graph):
        if reads is None or not _takes_part(node, reads) or reads.layer not in original:
            continue  # among them a depthwise layer that has a single channel left
        dense_node, before = original[reads.layer]
        mask = kept[str(before.data.name)][before.data_axis]
        if mask is not None and mask.size <= MAX_WIDTH:
            todo.append((node, reads, dense_node, before, mask))
    samples = affordable(samples, dense, pruned)
    there, here = Walk(dense, samples), Walk(pruned, samples)
    for node, reads, dense_node, before, mask in todo:
        there.to(dense_node)
        here.to(node)
        regression = _regression(there.here(before.data), here.here(reads.data), reads.data_axis, mask)
        assert before.weights.const_value is not None
        weights = np.moveaxis(before.weights.const_value.numpy(), before.axis, -1).astype(np.float64) @ regression
        _write(reads, weights, kept[str(before.weights.name)], before.axis)
    return len(todo)


def _takes_part(node: ir.Node, reads: WeightAxis) -> bool:
    return node.attributes.get_int("group", 1) == 1 and len(reads.weights.uses()) == 1 and len(shape_of(reads.data)) > 1


def _regression(dense: Iterable[_Array], pruned: Iterable[_Array], axis: int, mask: Mask) -> _Matrix:
    """B of x ≈ B x', (channels before, channels left); without samples it picks the channels that are left."""
    picks: _Matrix = np.eye(mask.size)[:, mask]
    moments, missing = np.zeros((int(mask.sum()),) * 2), np.zeros(picks.shape)
    random = np.random.default_rng(0)
    for before, after in zip(dense, pruned, strict=True):
        x, left = rows(before, axis), rows(after, axis)
        if len(x) > _ROWS:
            drawn = random.choice(len(x), _ROWS, replace=False)
            x, left = x[drawn], left[drawn]
        x, left = x.astype(np.float64), left.astype(np.float64)
        moments += left.T @ left
        missing[~mask] += (x[:, ~mask]).T @ left
        missing[mask] += (x[:, mask] - left).T @ left
    ridge = _RIDGE * max(np.trace(moments) / len(moments), 1e-30)
    return picks + np.linalg.solve(moments + ridge * np.eye(len(moments)), missing.T).T


def _write(reads: WeightAxis, weights: _Matrix, kept: list[Mask | None], axis: int) -> None:
    """Weights with the read axis last, cut where the layer's own outputs have gone."""
    content = np.moveaxis(weights, -1, axis)
    for at, mask in enumerate(kept):
        if mask is not None and at != axis % content.ndim:
            content = np.compress(mask, content, axis=at)
    name = reads.weights.name
    reads.weights.const_value = ir.tensor(np.ascontiguousarray(content, np.float32), name=name)
