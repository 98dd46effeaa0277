"""Upsampling by repetition, spelled as Unsqueeze, Tile and Reshape, becomes one Resize for all axes.

Keras' UpSampling2D comes so, axis by axis: (…, n, …) → (…, n, 1, …) → (…, n, r, …) → (…, n·r, …), with a Transpose
perhaps before the axes merge. Each element stands r times in a row: nearest neighbour, rounded down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.passes.fuse.algebra import maker
from edgekit.passes.fuse.rewiring import constant, new_constant
from edgekit.passes.fuse.rule_pass import RootRule, RulePass, rules_for

__all__ = ["FuseUpsampling"]

_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_VIEWS = frozenset({"Reshape", "Unsqueeze"})


@dataclass(frozen=True)
class _Repeated:
    """Each element of `x` stands `scales[axis]` times in a row along each axis; then a Transpose by `order`."""

    x: ir.Value
    scales: tuple[float, ...]
    order: tuple[int, ...]


class _Repetition(RootRule):
    replaces = ("Reshape",)

    def find(self, node: ir.Node) -> _Repeated | None:
        before = maker(node.inputs[0], node)
        order: tuple[int, ...] = ()
        tile = before
        if before is not None and before.op_type == "Transpose":
            order = tuple(before.attributes.get_ints("perm", ()))
            tile = maker(before.inputs[0], before)
        widened = maker(tile.inputs[0], tile) if tile is not None and tile.op_type == "Tile" else None
        if tile is None or widened is None or widened.op_type not in _VIEWS:
            return None
        repeats, x = constant(tile.inputs[1]), widened.inputs[0]
        if repeats is None or x is None or sum(repeats != 1) != 1:
            return None
        new = int(np.flatnonzero(repeats != 1)[0])
        order = order or tuple(range(len(repeats)))
        if not _inserts(widened, new) or not _merges(node, before, order.index(new)):
            return None
        repeated = order[order.index(new) - 1]
        left = [axis for axis in order if axis != new]
        scales = [1.0] * (len(repeats) - 1)
        scales[repeated - (repeated > new)] = float(repeats[new])
        return _Repeated(x, tuple(scales), tuple(axis - (axis > new) for axis in left))

    def replacement(self, op: Any, found: _Repeated) -> Any:
        resized = _resize(op, found.x, found.scales)
        if found.order == tuple(range(len(found.order))):
            return resized
        assert found.x.shape is not None
        sizes = [
            size if not isinstance(size, int) else size * int(scale)
            for size, scale in zip(found.x.shape, found.scales, strict=True)
        ]
        resized.shape, resized.type = ir.Shape(sizes), found.x.type
        return op.Transpose(resized, perm=list(found.order))


class _Again(RootRule):
    """A second repetition goes into the first."""

    replaces = ("Resize",)

    def find(self, node: ir.Node) -> _Repeated | None:
        first = maker(node.inputs[0], node)
        inner, outer = _repetition(first), _repetition(node)
        if first is None or first.inputs[0] is None or inner is None or outer is None:
            return None
        both = tuple(one * other for one, other in zip(inner, outer, strict=True))
        return _Repeated(first.inputs[0], both, tuple(range(len(both))))

    def replacement(self, op: Any, found: _Repeated) -> Any:
        return _resize(op, found.x, found.scales)


class FuseUpsampling(RulePass):
    """Fuses repetition by Unsqueeze, Tile and Reshape into Resize, all axes into one."""

    name = "fuse-upsampling"
    rules = rules_for(_Repetition, _Again)


def _resize(op: Any, x: ir.Value, scales: tuple[float, ...]) -> Any:
    graph = x.graph
    assert isinstance(graph, ir.Graph)
    return op.Resize(x, None, new_constant(graph, f"{x.name}/scales", np.array(scales, np.float32)), **_NEAREST)


def _repetition(node: ir.Node | None) -> tuple[float, ...] | None:
    """The scales of a Resize that repeats."""
    if node is None or node.op_type != "Resize" or len(node.inputs) != 3 or "axes" in node.attributes:
        return None
    scales = constant(node.inputs[2])
    nearest = all(node.attributes.get_string(name, "") == value for name, value in _NEAREST.items())
    if scales is None or not nearest or (scales != scales.round()).any():
        return None
    return tuple(float(scale) for scale in scales)


def _inserts(node: ir.Node, axis: int) -> bool:
    """Whether a view only inserts an axis of size 1 as `axis`."""
    before, after = (list(value.shape or ()) for value in (node.inputs[0], node.outputs[0]) if value is not None)
    return len(after) == len(before) + 1 and after[:axis] + after[axis + 1 :] == before and after[axis] == 1


def _merges(node: ir.Node, before: ir.Node | None, axis: int) -> bool:
    """Whether a Reshape only merges `axis` into the one in front of it."""
    assert before is not None
    sizes, merged = (list(value.shape or ()) for value in (before.outputs[0], node.outputs[0]))
    if axis < 1 or len(merged) != len(sizes) - 1:
        return False
    first, second = sizes[axis - 1], sizes[axis]
    if not isinstance(first, int) or not isinstance(second, int):
        return False
    return merged == [*sizes[: axis - 1], first * second, *sizes[axis + 1 :]]
