"""The physical removal of channels: constants are cut, shapes and attributes brought up to date."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.prune.channels import Channels
from edgekit.passes.prune.dependencies import Dependencies, Mask
from edgekit.passes.prune.layers import layers
from edgekit.passes.prune.rules import rule_of

__all__ = ["mask_channels", "remove_channels"]


def remove_channels(model: Model, dependencies: Dependencies, removed: Channels) -> Model:
    """A copy of `model` without some sets of channels.

    Args:
        model: what `dependencies` was found out about.
        dependencies: from `analyse`.
        removed: the `roots` of the channels that go.
    """
    pruned = model.clone()
    masks = dependencies.kept(removed)

    def kept(value: ir.Value, axis: int) -> Mask | None:
        axes = masks.get(str(value.name))
        return axes[axis] if axes is not None and axis < len(axes) else None

    for node in pruned.graph:
        entry = rule_of(node)
        if entry is not None and entry.adapt is not None:
            entry.adapt(node, kept)
    for value in pruned.graph.initializers.values():
        axes = masks.get(str(value.name), [])
        if any(mask is not None for mask in axes):
            assert value.const_value is not None
            content = value.const_value.numpy()
            for axis, mask in enumerate(axes):
                if mask is not None:
                    content = np.compress(mask, content, axis=axis)
            value.const_value = ir.tensor(np.ascontiguousarray(content), name=value.name)
            value.shape = ir.Shape(content.shape)
    for node in pruned.graph:
        for value in node.outputs:
            for axis, mask in enumerate(masks.get(str(value.name), [])):
                if mask is not None and value.shape is not None:
                    value.shape = ir.Shape([int(mask.sum()) if i == axis else s for i, s in enumerate(value.shape)])
    _drop_unread(pruned.graph)
    return pruned


def mask_channels(model: Model, dependencies: Dependencies, removed: Channels) -> Model:
    """A copy of `model` with all channels still there, and zeros wherever a layer's weights would read the `removed`.

    That is what `remove_channels` has to be equal to; the arguments are the same.
    """
    copy, masks = model.clone(), dependencies.kept(removed)
    for _, _, reads in layers(copy.graph):
        mask = masks[str(reads.weights.name)][reads.axis] if reads is not None else None
        if reads is not None and mask is not None:
            assert reads.weights.const_value is not None
            content = reads.weights.const_value.numpy().copy()
            np.moveaxis(content, reads.axis, 0)[~mask] = 0
            reads.weights.const_value = ir.tensor(content, name=reads.weights.name)
    return copy


def _drop_unread(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(name)
