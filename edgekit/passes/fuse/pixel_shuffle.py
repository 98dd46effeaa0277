"""Reshape, Transpose, Reshape that move pixels between depth and space become DepthToSpace or SpaceToDepth.

The shapes and the order of axes are those of the operators' definitions in ONNX. PyTorch's PixelShuffle is
DepthToSpace in mode CRD, TensorFlow's depth_to_space is mode DCR. SpaceToDepth has one order, TensorFlow's:
PixelUnshuffle stays as it is.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.pattern import RewriteRuleClassBase

from edgekit.passes.fuse.rule_pass import RulePass

__all__ = ["FusePixelShuffle"]

# The order of axes: the operator, its attributes, and which size behind the batch, in between, is the block's.
_CRD, _DCR, _TO_DEPTH = (0, 1, 4, 2, 5, 3), (0, 3, 4, 1, 5, 2), (0, 3, 5, 1, 2, 4)
_ORDERS: dict[tuple[int, ...], tuple[str, dict[str, Any], int]] = {
    _CRD: ("DepthToSpace", {"mode": "CRD"}, 1),
    _DCR: ("DepthToSpace", {"mode": "DCR"}, 1),
    _TO_DEPTH: ("SpaceToDepth", {}, 2),
}


class _Shuffle(RewriteRuleClassBase):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="pixel-shuffle")
        self._op = ""
        self._attributes: dict[str, Any] = {}

    def pattern(self, op: Any, x: Any, split_shape: Any, merged_shape: Any) -> Any:
        split = op.Reshape(x, split_shape, _allow_other_attributes=True, _outputs=["split"])
        moved = op.Transpose(split, _allow_other_attributes=True, _outputs=["moved"])
        return op.Reshape(moved, merged_shape, _allow_other_attributes=True, _outputs=["merged"])

    def check(self, _context: Any, x: ir.Value, split: ir.Value, moved: ir.Value, merged: ir.Value, **_: Any) -> bool:
        transpose = moved.producer()
        order = tuple(transpose.attributes.get_ints("perm", ())) if transpose is not None else ()
        before, middle, after = _sizes(x), _sizes(split), _sizes(merged)
        if order not in _ORDERS or len(before) != 3 or len(middle) != 5:
            return False
        self._op, attributes, block_axis = _ORDERS[order]
        block = middle[block_axis]
        self._attributes = {**attributes, "blocksize": block}
        return block > 1 and (middle, after) == _shapes(before, block, order)

    def rewrite(self, op: Any, x: ir.Value, **_: Any) -> Any:
        return getattr(op, self._op)(x, **self._attributes)


class FusePixelShuffle(RulePass):
    """Fuses Reshape, Transpose, Reshape into DepthToSpace or SpaceToDepth."""

    name = "fuse-pixel-shuffle"
    rules = RewriteRuleSet([_Shuffle.rule()])


def _sizes(value: ir.Value) -> list[int]:
    """The sizes of all axes behind the batch, which then is the same throughout; nothing where one is unknown."""
    sizes = list(value.shape or ())[1:]
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(known) == len(sizes) else []


def _shapes(sizes: list[int], block: int, order: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The shape in between, and the last one, that the operator's definition gives for (batch, *sizes)."""
    channels, height, width = sizes
    if order == _TO_DEPTH:
        height, width = height // block, width // block
        return [channels, height, block, width, block], [channels * block * block, height, width]
    depth = channels // (block * block)
    split = [depth, block, block] if order == _CRD else [block, block, depth]
    return [*split, height, width], [depth, height * block, width * block]
