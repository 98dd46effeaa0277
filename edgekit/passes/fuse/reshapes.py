"""Fewer Reshapes: chains become one, Transposes need none around them for axes of size 1, and products none at all.

Reshape, Squeeze, Unsqueeze and Flatten hand on the same numbers under another shape; here they are all views. Shapes
are static but for the batch, so the last shape of a chain says everything. ONNX Script's rules know some of the pairs,
and give up where a shape has the batch in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import BATCH, Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import bypass, constant, feeds_only, new_constant, unique_node_name

__all__ = ["MergeReshapes"]

_VIEWS = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
# Stands for the batch when sizes are multiplied: no size of a network has such a prime factor.
_PRIME = 2_147_483_647


class MergeReshapes(Pass):
    """Merges chains of reshapes, and takes out those that Transposes, reductions and products can do without."""

    name = "merge-reshapes"
    version = "2"

    def call(self, model: Model) -> PassResult:
        """One move after the other, until none is left."""
        fired = 0
        moves = (_merge, _as_view, _drop_ones, _transpose_first, _keep_axes, _multiply_unmerged)
        while moved := sum(move(node) for move in moves for node in list(model.graph)):
            fired += moved
            _remove_unread(model.graph)
        return PassResult(model, fired)


def _remove_unread(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if _is_view(node) and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)


def _merge(node: ir.Node) -> bool:
    """A view of a view that nothing else reads is a view of the first one's source."""
    first = _maker(node.inputs[0], node) if _is_view(node) else None
    if first is None or not _is_view(first) or first.inputs[0] is None:
        return False
    source, shape = first.inputs[0], _sizes(node.outputs[0])
    if shape is None or _sizes(source) is None:
        return False
    _become_view(node, source)
    return True


def _as_view(node: ir.Node) -> bool:
    """A Transpose that moves only axes of size 1 is a view."""
    order = _order(node)
    sizes = _sizes(node.inputs[0]) if order and node.inputs[0] is not None else None
    if order is None or sizes is None or node.inputs[0] is None:
        return False
    moved = [axis for axis in order if sizes[axis] != 1]
    if moved != sorted(moved) or list(order) == sorted(order) or _sizes(node.outputs[0]) is None:
        return False
    _become_view(node, node.inputs[0])
    return True


def _drop_ones(node: ir.Node) -> bool:
    """A Transpose between views needs no axes of size 1."""
    order = _order(node)
    before = _maker(node.inputs[0], node) if order else None
    if order is None or before is None or not _is_view(before) or not _feeds_views(node.outputs[0]):
        return False
    sizes, result = _sizes(before.outputs[0]), node.outputs[0]
    if sizes is None or 1 not in sizes[1:] or _sizes(result) is None or before.outputs[0].shape is None:
        return False
    kept = [axis for axis, size in enumerate(sizes) if axis == 0 or size != 1]
    dims = list(before.outputs[0].shape)
    narrow = tuple(kept.index(axis) for axis in order if axis in kept)
    before.outputs[0].shape = ir.Shape([dims[axis] for axis in kept])
    _become_view(before, before.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", narrow)
    result.shape = ir.Shape([dims[axis] for axis in order if axis in kept])
    for use in result.uses():
        _become_view(use.node, result)
    return True


def _transpose_first(node: ir.Node) -> bool:
    """A Transpose of a view that merges axes of a Transpose: both Transposes come first, and then are one."""
    order = _order(node)
    view = _maker(node.inputs[0], node) if order else None
    first = _maker(view.inputs[0], view) if view is not None and _is_view(view) else None
    if order is None or view is None or first is None or _order(first) is None or view.inputs[0] is None:
        return False
    groups = _groups(_sizes(view.inputs[0]), _sizes(view.outputs[0]))
    if groups is None or view.inputs[0].shape is None:
        return False
    wide = [axis for place in order for axis in groups[place]]
    dims = list(view.inputs[0].shape)
    merged = view.outputs[0]
    # The nodes change roles in place: what was the view turns the axes, what was the Transpose is the view.
    merged.shape = ir.Shape([dims[axis] for axis in wide])
    _become(view, "Transpose", [view.inputs[0]], ir.AttrInt64s("perm", wide))
    _become_view(node, merged)
    view.name, node.name = node.name, view.name
    return True


def _keep_axes(node: ir.Node) -> bool:
    """A reduction that drops axes, which a view puts back, keeps them."""
    reduction = _maker(node.inputs[0], node) if _is_view(node) else None
    if reduction is None or reduction.op_type not in _REDUCTIONS or reduction.attributes.get_int("keepdims", 1) != 0:
        return False
    axes = constant(reduction.inputs[1]) if len(reduction.inputs) > 1 else None
    source = reduction.inputs[0]
    sizes, wanted = _sizes(source), _sizes(node.outputs[0])
    if axes is None or not axes.size or sizes is None or source is None:
        return False
    reduced = {int(axis) % len(sizes) for axis in axes}
    if wanted != [1 if axis in reduced else size for axis, size in enumerate(sizes)]:
        return False
    dims, kept = node.outputs[0].shape, reduction.outputs[0].shape
    reduction.attributes["keepdims"] = ir.AttrInt64("keepdims", 1)
    reduction.outputs[0].shape = dims
    if bypass(node, reduction.outputs[0]):
        return True
    reduction.attributes["keepdims"], reduction.outputs[0].shape = ir.AttrInt64("keepdims", 0), kept
    return False


def _multiply_unmerged(node: ir.Node) -> bool:
    """A product of matrices whose batch axes views merged takes them as they were; a view of the result merges them."""
    if node.op_type != "MatMul" or node.domain:
        return False
    sources = [_unmerged(value, node) for value in node.inputs]
    if sources[0] is None:
        return False
    left, right, result = sources[0], sources[1] or node.inputs[1], node.outputs[0]
    front, second = list(left.shape or ())[:-2], right.shape if right is not None else None
    front = front if len(result.shape or ()) > 2 else []
    weights = sources[1] is None and second is not None and len(second) == 2
    if not weights and (sources[1] is None or second is None or list(second)[:-2] != front or not front):
        return False
    if weights and not _feeds_views(result):
        return False
    if result.shape is None or left.shape is None or not isinstance(node.graph, ir.Graph):
        return False
    lead = list(left.shape)[:-1] if weights else [*front, left.shape[-2]]
    old = result.shape
    after = ir.val(None, type=result.type, shape=old, metadata_props=dict(result.metadata_props))
    result.replace_all_uses_with(after, replace_graph_outputs=True)
    result.metadata_props.clear()
    node.replace_input_with(0, left)
    if sources[1] is not None:
        node.replace_input_with(1, sources[1])
    after.name, result.name = result.name, f"{result.name}/unmerged"
    result.shape = ir.Shape([*lead, old[-1]])
    name = unique_node_name(node.graph, f"{node.name}/reshape")
    view = ir.node("Reshape", [result, None], outputs=[after], name=name)
    node.graph.insert_after(node, view)
    _become_view(view, result)
    return True


def _unmerged(value: ir.Value | None, reader: ir.Node) -> ir.Value | None:
    """What a view that only merges axes in front of a matrix's last one or two was made of; None for other values."""
    view = _maker(value, reader)
    source = view.inputs[0] if view is not None and _is_view(view) else None
    sizes, merged = _sizes(source), _sizes(value)
    if source is None or sizes is None or merged is None or len(sizes) <= len(merged):
        return None
    kept = len(merged) - 1
    return source if sizes[-kept:] == merged[1:] else None


def _is_view(node: ir.Node) -> bool:
    return node.op_type in _VIEWS and not node.domain


def _feeds_views(value: ir.Value) -> bool:
    uses = list(value.uses())
    return bool(uses) and not value.is_graph_output() and all(_is_view(use.node) and use.idx == 0 for use in uses)


def _maker(value: ir.Value | None, reader: ir.Node) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if value is not None and node is not None and not node.domain and feeds_only(value, reader) else None


def _order(node: ir.Node) -> tuple[int, ...] | None:
    if node.op_type != "Transpose" or node.domain:
        return None
    rank = len(node.outputs[0].shape or ())
    return tuple(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def _sizes(value: ir.Value | None) -> list[int] | None:
    """The sizes of all axes, with a prime for the batch; None unless all are known, and the batch is in one at most."""
    sizes = [_size(dim) for dim in value.shape] if value is not None and value.shape is not None else [None]
    known = [size for size in sizes if size is not None]
    return known if len(known) == len(sizes) and sum(size % _PRIME == 0 for size in known) <= 1 else None


def _size(dim: int | ir.SymbolicDim) -> int | None:
    if isinstance(dim, int):
        return dim
    found = re.fullmatch(rf"(?:(\d+)\*)?{BATCH}", dim.value or "")
    return int(found[1] or 1) * _PRIME if found else None


def _groups(sizes: Sequence[int] | None, merged: Sequence[int] | None) -> list[list[int]] | None:
    """For each axis of `merged` the axes of `sizes` that it consists of; None where an axis was split."""
    if sizes is None or merged is None:
        return None
    groups: list[list[int]] = []
    axis = 0
    for size in merged:
        group: list[int] = []
        while math.prod(sizes[each] for each in group) < size and axis < len(sizes):
            group.append(axis)
            axis += 1
        if not group or math.prod(sizes[each] for each in group) != size:
            return None
        groups.append(group)
    return groups if axis == len(sizes) else None


def _become_view(node: ir.Node, source: ir.Value | None) -> None:
    """Make `node` a Reshape of `source` to the shape that its output has; the batch is taken from the source."""
    shape, graph = node.outputs[0].shape, node.graph
    assert shape is not None
    assert source is not None
    assert isinstance(graph, ir.Graph)
    same_front = source.shape is not None and source.shape[:1] == shape[:1]
    sizes = [dim if isinstance(dim, int) else 0 if at == 0 and same_front else -1 for at, dim in enumerate(shape)]
    target = new_constant(graph, f"{node.name}/shape", np.array(sizes, np.int64))
    _become(node, "Reshape", [source, target])


def _become(node: ir.Node, op_type: str, inputs: Sequence[ir.Value], *attributes: ir.Attr) -> None:
    node.op_type = op_type
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    node.attributes.clear()
    node.attributes.update({each.name: each for each in attributes})
