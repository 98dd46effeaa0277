"""Operators that only rearrange: their channels are the same ones, in another place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.passes.prune.channels import Channels
from edgekit.passes.prune.rules import Axes, Kept, NodeChannels, channel_rule, shape_of

__all__: list[str] = []

Array = np.ndarray[Any, Any]

_DATA = "arranges them as its data say"
_MERGES = "merges them with another axis"
_ONLY = "has only one of them"
_REPEATS = "repeats them"


# ------------------------------------------------------------------------------------------------ moving whole axes


@channel_rule("Transpose")
def _transpose(node: NodeChannels) -> None:
    data = node.channels(0)
    order = node.node.attributes.get_ints("perm", range(len(data))[::-1])
    node.give([data[axis] for axis in order])


@channel_rule("Squeeze", "Unsqueeze")
def _one_more_or_less(node: NodeChannels) -> None:
    """Axes of size 1 come or go; the others keep their order."""
    if not node.has(1):
        node.freeze_all(why="takes away every axis of size 1")
        return
    before, after = node.shape(0), node.output_shape()
    wide = [axes for axes, size in zip(node.channels(0), before, strict=True) if size != 1]
    node.freeze(*(axes for axes, size in zip(node.channels(0), before, strict=True) if size == 1), why=_ONLY)
    rest = iter(wide)
    node.give([next(rest) if size != 1 else None for size in after])


def _rewrite_sizes(node: ir.Node, kept: Kept) -> None:
    """Bring the target shape up to date: what is left of each axis of the output."""
    output = node.outputs[0]
    target = _constant(node, 1)
    if target is None:
        return
    left = target.copy()
    for axis in range(target.size):
        mask = kept(output, axis + len(shape_of(output)) - target.size)
        if mask is not None and target[axis] > 0:
            left[axis] = mask.sum()
    _set_constant(node, 1, left)


@channel_rule("Expand", adapt=_rewrite_sizes)
def _expand(node: NodeChannels) -> None:
    if node.constant(1) is None:
        node.freeze_all(why=_DATA)
        return
    before, after = node.shape(0), node.output_shape()
    data = [None] * (len(after) - len(before)) + node.channels(0)
    sizes = (None,) * (len(after) - len(before)) + before
    node.freeze(*(axes for axes, old, new in zip(data, sizes, after, strict=True) if old != new), why=_REPEATS)
    node.give([axes if old == new else None for axes, old, new in zip(data, sizes, after, strict=True)])


# ------------------------------------------------------------------------------------------- merging, splitting axes


@channel_rule("Reshape", adapt=_rewrite_sizes)
def _reshape(node: NodeChannels) -> None:
    if node.constant(1) is None:
        node.freeze_all(why=_DATA)
    else:
        _reshaped(node)


@channel_rule("Flatten")
def _flatten(node: NodeChannels) -> None:
    _reshaped(node)


def _reshaped(node: NodeChannels) -> None:
    """Axes fall into the smallest blocks of equal size before and after; each is merged, or split, or stays."""
    data, before, after = node.channels(0), node.shape(0), node.output_shape()
    made: Axes = [None] * len(after)
    for old, new in _blocks(before, after):
        if len(old) == len(new) == 1:
            made[new[0]] = data[old[0]]
        elif len(new) == 1:
            made[new[0]] = _merged(node, [data[axis] for axis in old], [before[axis] or 1 for axis in old])
        elif len(old) == 1 and new:
            place, channels = _split_axis(node, data[old[0]], [after[axis] or 1 for axis in new])
            made[new[place]] = channels
        else:
            node.freeze(*(data[axis] for axis in old), why="regroups several axes at once")
    node.give(made)


def _blocks(before: tuple[int | None, ...], after: tuple[int | None, ...]) -> list[tuple[list[int], list[int]]]:
    """The axes of a reshape in the smallest blocks that hold equally many elements; axes of size 1 stand alone.

    They are found from the last axis on, because the first one is the batch, which others may be multiplied with: what
    is left then has nothing on its right side.
    """
    old = [axis for axis, size in enumerate(before) if size != 1]
    new = [axis for axis, size in enumerate(after) if size != 1]
    blocks: list[tuple[list[int], list[int]]] = []
    while old and new:
        left, right = [old.pop()], [new.pop()]
        while (a := _elements(before, left)) != (b := _elements(after, right)):
            if a < b and old:
                left.insert(0, old.pop())
            elif b < a and new:
                right.insert(0, new.pop())
            else:
                return [*blocks, ([*old, *left], [])]
        blocks.append((left, right))
    return [*blocks, (old, [])]


def _elements(shape: tuple[int | None, ...], axes: list[int]) -> float:
    """How many; the batch counts as something that no number equals but itself."""
    return math.prod(math.pi if shape[axis] is None else float(shape[axis] or 0) for axis in axes)


def _merged(node: NodeChannels, axes: Axes, sizes: list[int]) -> Channels | None:
    """One axis can shrink; the elements of the others then go with it. Where several could, the first one does."""
    place = next(
        (i for i, channels in enumerate(axes) if channels is not None and not node.sets.is_frozen(channels)), None
    )
    if place is None:
        node.freeze(*axes, why=_MERGES)
        return None
    node.freeze(*(channels for i, channels in enumerate(axes) if i != place), why=_MERGES)
    channels = axes[place]
    assert channels is not None
    shape = [1] * len(sizes)
    shape[place] = sizes[place]
    return np.ascontiguousarray(np.broadcast_to(channels.reshape(shape), sizes)).ravel()


def _split_axis(node: NodeChannels, channels: Channels | None, sizes: list[int]) -> tuple[int, Channels | None]:
    """Of an axis that is split one part can shrink: heads of (heads, depth), or of (q-k-v, heads, depth)."""
    place = 1 if len(sizes) > 2 else 0
    if channels is None:
        return place, None
    table = np.moveaxis(channels.reshape(sizes), place, 0).reshape(sizes[place], -1)
    return place, node.tie(table)


# ---------------------------------------------------------------------------------------- joining and cutting an axis


@channel_rule("Concat")
def _concat(node: NodeChannels) -> None:
    operands = [node.channels(index) for index in range(len(node.node.inputs))]
    along = node.node.attributes.get_int("axis", 0) % len(operands[0])
    made = list(operands[0])
    for other in operands[1:]:
        made = [axes if axis == along else node.meet(axes, other[axis]) for axis, axes in enumerate(made)]
    parts = [axes[along] for axes in operands]
    if all(part is None for part in parts):
        made[along] = None
    else:
        # A part that stays still has its place in the whole.
        made[along] = np.concatenate(
            [_standing(node, index, along) if part is None else part for index, part in enumerate(parts)]
        )
    node.give(made)


def _standing(node: NodeChannels, index: int, axis: int) -> Channels:
    return np.full(node.shape(index)[axis] or 1, node.sets.FROZEN)


def _split_sizes(node: ir.Node, kept: Kept) -> None:
    axis = node.attributes.get_int("axis", 0) % len(shape_of(node.inputs[0]))
    masks = [kept(output, axis) for output in node.outputs]
    if any(mask is not None for mask in masks):
        sizes = [
            int(mask.sum()) if mask is not None else shape_of(output)[axis]
            for mask, output in zip(masks, node.outputs, strict=True)
        ]
        node.attributes.pop("num_outputs", None)
        node.resize_inputs(2)
        _set_constant(node, 1, np.array(sizes, np.int64))


@channel_rule("Split", adapt=_split_sizes)
def _split(node: NodeChannels) -> None:
    data = node.channels(0)
    along = node.node.attributes.get_int("axis", 0) % len(data)
    outputs, begin = [], 0
    for place in range(len(node.node.outputs)):
        size = node.output_shape(place)[along] or 0
        channels = data[along]
        part = None if channels is None else channels[begin : begin + size]
        outputs.append([part if axis == along else axes for axis, axes in enumerate(data)])
        begin += size
    node.give(*outputs)


def _move_bounds(node: ir.Node, kept: Kept) -> None:
    """The slice begins and ends behind as many channels as are left in front of it."""
    data = node.inputs[0]
    assert data is not None
    bounds = _bounds(node)
    if bounds is None or not any(kept(data, axis) is not None for axis, *_ in bounds):
        return
    for position, (axis, start, end, _) in enumerate(bounds):
        mask = kept(data, axis)
        if mask is not None:
            for index, bound in ((1, start), (2, end)):
                listed = _constant(node, index)
                assert listed is not None
                moved = listed.copy()
                moved[position] = mask[:bound].sum()
                _set_constant(node, index, moved)


@channel_rule("Slice", adapt=_move_bounds)
def _slice(node: NodeChannels) -> None:
    data, bounds = list(node.channels(0)), _bounds(node.node)
    if bounds is None:
        node.freeze_all(why=_DATA)
        return
    for axis, start, end, step in bounds:
        channels = data[axis]
        if step != 1:
            node.freeze(channels, why="takes every other one")
            data[axis] = None
        elif channels is not None:
            data[axis] = channels[start:end]
    node.give(data)


def _bounds(node: ir.Node) -> list[tuple[int, int, int, int]] | None:
    """Axis, start, end and step of each axis that a Slice cuts, from 0 to its size; None where they aren't constant."""
    shape = shape_of(node.inputs[0])
    starts, ends = _constant(node, 1), _constant(node, 2)
    if starts is None or ends is None:
        return None
    axes = _constant(node, 3) if len(node.inputs) > 3 and node.inputs[3] is not None else np.arange(starts.size)
    steps = (
        _constant(node, 4) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(starts.size, np.int64)
    )
    if axes is None or steps is None:
        return None
    found = []
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        size = shape[axis]
        if size is None:
            return None
        found.append((axis % len(shape), *slice(start, end, step).indices(size)))
    return found


def _renumber(node: ir.Node, kept: Kept) -> None:
    data = node.inputs[0]
    assert data is not None
    axis = node.attributes.get_int("axis", 0) % len(shape_of(data))
    mask, index = kept(data, axis), _constant(node, 1)
    if mask is not None and index is not None:
        left = index[mask[index]]
        _set_constant(node, 1, (np.cumsum(mask) - 1)[left])


@channel_rule("Gather", adapt=_renumber)
def _gather(node: NodeChannels) -> None:
    """Constant indices pick channels; a single one, or indices that come as data, need the whole axis."""
    data, index = list(node.channels(0)), node.constant(1)
    along = node.node.attributes.get_int("axis", 0) % len(data)
    channels = data[along]
    if index is not None and index.ndim == 1 and channels is not None:
        data[along] = channels[index]
        node.give(data)
        return
    node.freeze(channels, *node.channels(1), why="looks up single ones")
    rank = len(node.shape(1))
    node.give([*data[:along], *[None] * rank, *data[along + 1 :]])


@channel_rule("Pad")
def _pad(node: NodeChannels) -> None:
    data, pads, axes = list(node.channels(0)), node.constant(1), node.constant(3) if node.has(3) else None
    if pads is None:
        node.freeze_all(why=_DATA)
        return
    listed = [int(axis) % len(data) for axis in axes] if axes is not None else list(range(len(data)))
    for place, axis in enumerate(listed):
        if pads[place] or pads[place + len(listed)]:
            node.freeze(data[axis], why="adds others to them")
            data[axis] = None
    node.give(data)


@channel_rule("Tile")
def _tile(node: NodeChannels) -> None:
    data, before, after = node.channels(0), node.shape(0), node.output_shape()
    node.freeze(*(axes for axes, old, new in zip(data, before, after, strict=True) if old != new), why=_REPEATS)
    node.give([axes if old == new else None for axes, old, new in zip(data, before, after, strict=True)])


# ------------------------------------------------------------------------------------------------------- constants


def _constant(node: ir.Node, index: int) -> Array | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor.numpy() if tensor is not None else None


def _set_constant(node: ir.Node, index: int, content: Array) -> None:
    """Give the node a constant of its own: others may read the one it had."""
    assert isinstance(node.graph, ir.Graph)
    value = ir.Value(
        name=f"{node.name}/pruned/{index}", const_value=ir.tensor(content, name=f"{node.name}/pruned/{index}")
    )
    value.shape, value.dtype = ir.Shape(content.shape), ir.DataType(ir.tensor(content).dtype)
    node.graph.initializers.pop(value.name or "", None)
    node.graph.register_initializer(value)
    node.replace_input_with(index, value)
