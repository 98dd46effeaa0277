"""Convolutions and what works window by window: data is (batch, channels, space …)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.passes.prune.channels import Channels
from edgekit.passes.prune.rules import Kept, NodeChannels, channel_rule, shape_of

__all__: list[str] = []

_WINDOW = "moves a window over them"
_BLOCK = "turns them into blocks"


def _regroup(node: ir.Node, kept: Kept) -> None:
    """A depthwise convolution has one group a channel."""
    groups, data = node.attributes.get_int("group", 1), node.inputs[0]
    assert data is not None
    mask = kept(data, 1)
    if groups > 1 and mask is not None and groups == mask.size:
        node.attributes["group"] = ir.AttrInt64("group", int(mask.sum()))


@channel_rule("Conv", adapt=_regroup)
def _conv(node: NodeChannels) -> None:
    """Weights are (out, in ÷ groups, window …)."""
    data, weights, groups = node.channels(0), node.channels(1), node.node.attributes.get_int("group", 1)
    node.freeze(*data[2:], *weights[2:], why=_WINDOW)
    made, taken = weights[0], data[1]
    if groups == 1:
        node.meet(taken, weights[1])
    elif node.shape(1)[1] == 1:
        node.freeze(weights[1], why="has filters of one size")
        made = _depthwise(node, taken, made, groups)
    else:
        node.meet(_grouped(node, taken, groups), weights[1])
        _grouped(node, made, groups)
    if node.has(2):
        made = node.meet(made, node.channels(2)[0])
    node.give([data[0], made, *[None] * (len(data) - 2)])


@channel_rule("ConvTranspose", adapt=_regroup)
def _conv_transpose(node: NodeChannels) -> None:
    """Weights are (in, out ÷ groups, window …)."""
    data, weights, groups = node.channels(0), node.channels(1), node.node.attributes.get_int("group", 1)
    node.freeze(*data[2:], *weights[2:], why=_WINDOW)
    taken = node.meet(data[1], weights[0])
    made = weights[1]
    if groups > 1 and shape_of(node.value(1))[0] == groups:
        # Depthwise: an input channel makes a few outputs of its own, whose number stays.
        node.freeze(weights[1], why="has filters of one size")
        made = None if taken is None else np.repeat(taken, node.shape(1)[1] or 1)
    elif groups > 1:
        _grouped(node, taken, groups)
        made = None if made is None else np.tile(made, groups)
    if node.has(2):
        made = node.meet(made, node.channels(2)[0])
    node.give([data[0], made, *[None] * (len(data) - 2)])


def _depthwise(node: NodeChannels, taken: Channels | None, made: Channels | None, groups: int) -> Channels | None:
    """Each input channel goes with the outputs that are made of it."""
    if taken is None or made is None:
        return node.meet(taken, made)
    node.tie(np.concatenate([taken[:, None], made.reshape(groups, -1)], axis=1))
    return made


def _grouped(node: NodeChannels, channels: Channels | None, groups: int) -> Channels | None:
    """The groups stay equally large: the channels at one place of every group go together."""
    return None if channels is None else node.tie(channels.reshape(groups, -1).T)


@channel_rule("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")
def _pool(node: NodeChannels) -> None:
    data = node.channels(0)
    node.freeze(*data[2:], why=_WINDOW)
    node.give([data[0], data[1], *[None] * (len(data) - 2)])


@channel_rule("BatchNormalization", "InstanceNormalization")
def _normalize_channels(node: NodeChannels) -> None:
    """Each channel by itself, with figures of its own; an InstanceNormalization takes the mean over all of space."""
    data = node.channels(0)
    channels = data[1]
    for index in range(1, len(node.node.inputs)):
        channels = node.meet(channels, node.channels(index)[0])
    space = data[2:]
    if node.node.op_type == "InstanceNormalization":
        node.freeze(*space, why="takes the mean over them")
        space = [None] * len(space)
    node.give([data[0], channels, *space])


@channel_rule("DepthToSpace")
def _depth_to_space(node: NodeChannels) -> None:
    """The channels that become one block of one channel go together."""
    data, block = node.channels(0), node.node.attributes.get_int("blocksize", 1) ** 2
    node.freeze(*data[2:], why=_BLOCK)
    channels = data[1]
    if channels is not None:
        in_front = node.node.attributes.get_string("mode", "DCR") == "DCR"
        channels = node.tie(channels.reshape(block, -1).T if in_front else channels.reshape(-1, block))
    node.give([data[0], channels, None, None])


@channel_rule("SpaceToDepth")
def _space_to_depth(node: NodeChannels) -> None:
    data, block = node.channels(0), node.node.attributes.get_int("blocksize", 1) ** 2
    node.freeze(*data[2:], why=_BLOCK)
    node.give([data[0], None if data[1] is None else np.tile(data[1], block), None, None])


@channel_rule("Resize", "Upsample")
def _resize(node: NodeChannels) -> None:
    """An axis whose size changes stays whole."""
    data, before, after = node.channels(0), node.shape(0), node.output_shape()
    kept = [axes if old == new else None for axes, old, new in zip(data, before, after, strict=True)]
    node.freeze(*(axes for axes, old, new in zip(data, before, after, strict=True) if old != new), why="resizes them")
    for index in range(1, len(node.node.inputs)):
        figures = node.constant(index)
        every_axis = figures is not None and figures.size > 0 and not node.node.attributes.get_ints("axes", ())
        if index != 2 and every_axis:  # the region and the sizes of all axes would have to be written anew
            node.freeze(*kept, why="has figures for every axis")
            kept = [None] * len(kept)
    node.give(kept)
