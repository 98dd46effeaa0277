"""Nodes that hand on their input as it is go: Identity, Dropout, ×1, +0, casts and reshapes to what is there already.

ONNX Script's rules take a factor of 0.999999 for 1, and know scalars only.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import bypass, constant

__all__ = ["EliminateNoOps"]

_RESHAPING = frozenset({"Expand", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})


class EliminateNoOps(Pass):
    """Removes each node whose output is one of its inputs, exactly."""

    name = "eliminate-no-ops"

    def call(self, model: Model) -> PassResult:
        """One between a graph input and a graph output stays: ONNX wants a node there."""
        fired = 0
        for node in list(model.graph):
            same = None if node.domain else _handed_on(node)
            fired += same is not None and bypass(node, same)
        return PassResult(model, fired)


def _handed_on(node: ir.Node) -> ir.Value | None:
    """The input that the node's only read output equals, or None."""
    if not node.inputs or node.inputs[0] is None or any(value.uses() for value in node.outputs[1:]):
        return None
    first = node.inputs[0]
    match node.op_type:
        case "Identity":
            return first
        case "Dropout":
            mode = node.inputs[2] if len(node.inputs) > 2 else None
            return first if mode is None or _holds(mode, 0) else None
        case "Cast":
            return first if first.dtype == node.outputs[0].dtype else None
        case "Concat":
            return first if len(node.inputs) == 1 else None
        case "Pad":
            return first if _holds(node.inputs[1], 0) else None
        case op if op in _RESHAPING:
            return first if _same_shape(first, node) else None
        case "Add" | "Sub" | "Mul" | "Div":
            return _operand(node, neutral=0 if node.op_type in {"Add", "Sub"} else 1)
    return None


def _operand(node: ir.Node, neutral: float) -> ir.Value | None:
    """The operand that the other, a constant, does not change; it may stand on the right of - and / only."""
    left, right = node.inputs
    if left is not None and _holds(right, neutral) and _same_shape(left, node):
        return left
    if right is not None and node.op_type in {"Add", "Mul"} and _holds(left, neutral) and _same_shape(right, node):
        return right
    return None


def _holds(value: ir.Value | None, figure: float) -> bool:
    content = constant(value)
    return content is not None and bool((content == figure).all())


def _same_shape(value: ir.Value, node: ir.Node) -> bool:
    """Known to be equal: a symbolic size equals itself, an unknown one nothing."""
    before, after = value.shape, node.outputs[0].shape
    return (
        before is not None
        and after is not None
        and all(isinstance(size, int) or size.value is not None for size in before)
        and before.dims == after.dims
    )
