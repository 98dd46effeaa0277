"""`Laid`: a TensorFlow tensor that knows how its axes lie in memory against the logical axes of ONNX.

ONNX speaks NCHW, TensorFlow wants NHWC. Instead of transposing at every border, each tensor carries its order: an ONNX
Transpose only changes the order, element-wise ops work in any common order, and a real transpose is emitted only where
an op needs another order than its input has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.node import Shape

__all__ = ["AxisGroup", "Laid", "axis_groups", "broadcast", "channels_last", "reshaped"]


@dataclass(frozen=True)
class Laid:
    """A tensor with its physical order.

    Attributes:
        value: the TensorFlow tensor or variable.
        shape: the logical sizes; None for an unknown batch.
        order: physical axis i holds logical axis `order[i]`. Logical axes of size 1 may be missing from it.
        flattened: for a logical (N, F): the tensor that was flattened without putting its axes in logical order first,
            so that the F features lie in its physical order. A Gemm takes that up in its weights.
        constant: whether the value is known when the graph is built (a weight).
    """

    value: Any
    shape: Shape
    order: tuple[int, ...]
    flattened: Laid | None = None
    constant: bool = False

    @classmethod
    def logical(cls, value: Any, shape: Shape, *, constant: bool = False) -> Laid:
        """A tensor that lies as ONNX says."""
        return cls(value, shape, tuple(range(len(shape))), constant=constant)

    @property
    def rank(self) -> int:
        """How many logical axes there are."""
        return len(self.shape)

    def like(self, value: Any) -> Laid:
        """The result of an op that works element by element: same shape, same order."""
        return replace(self, value=value, constant=False)

    def axis(self, logical: int) -> int:
        """The physical axis that holds the logical axis `logical` (negative counts from the end)."""
        return self.order.index(logical % self.rank)

    def unflattened(self) -> Laid:
        """The same tensor with its features in logical order."""
        if self.flattened is None:
            return self
        source = self.flattened
        value = reshaped(self.value, [source.shape[axis] for axis in source.order])
        straight = replace(source, value=value).to(range(source.rank))
        return Laid.logical(reshaped(straight.value, self.shape), self.shape)

    def to(self, order: Sequence[int]) -> Laid:
        """The same tensor in the physical order `order`, which names every logical axis."""
        order = tuple(order)
        source = self.unflattened()
        if source.order == order:
            return source
        sizes = [source.shape[axis] for axis in order]
        if source.big_axes(source.order) == source.big_axes(order):  # only axes of size 1 move: no byte does
            value = reshaped(source.value, sizes)
        else:
            full = source.with_all_axes()
            value = tf.transpose(full.value, [full.order.index(axis) for axis in order])
        return replace(source, value=value, order=order)

    def with_all_axes(self) -> Laid:
        """The same tensor with the missing axes of size 1 put in, in front."""
        source = self.unflattened()
        missing = tuple(axis for axis in range(source.rank) if axis not in source.order)
        return source.to(missing + source.order) if missing else source

    def transposed(self, axes: Sequence[int]) -> Laid:
        """The same bytes with the logical axes in another order: axis i was axis `axes[i]`."""
        source, axes = self.unflattened(), tuple(axes)
        shape = tuple(source.shape[axis] for axis in axes)
        order = tuple(axes.index(axis) for axis in source.order)
        return replace(source, shape=shape, order=order, constant=False)

    def in_logical_order(self) -> Any:
        """The TensorFlow tensor as ONNX sees it."""
        return self.to(range(self.rank)).value

    def expanded(self, rank: int) -> Laid:
        """The same tensor with axes of size 1 in front, as broadcasting adds them."""
        extra = rank - self.rank
        if not extra:
            return self
        source = self.unflattened()
        order = tuple(axis + extra for axis in source.order)
        return replace(source, shape=(1,) * extra + source.shape, order=order)

    def big_axes(self, order: Sequence[int]) -> list[int]:
        """`order` without the axes of size 1, which take no place in memory."""
        return [axis for axis in order if self.shape[axis] != 1]


def channels_last(rank: int) -> tuple[int, ...]:
    """The order that TensorFlow's convolutions want for a logical (N, C, spatial…)."""
    return (0, *range(2, rank), 1)


def reshaped(value: Any, shape: Sequence[int | None]) -> Any:
    """`tf.reshape` that leaves the batch open where it is, and writes a static shape where all is known."""
    known = tuple(value.shape.as_list())
    if known == tuple(shape) and None not in known:
        return value
    sizes = [-1 if size is None else size for size in shape]
    if sizes.count(-1) == 1 and None not in known:
        sizes[sizes.index(-1)] = math.prod(known) // math.prod(size for size in sizes if size != -1)
    return tf.reshape(value, sizes)


class AxisGroup(NamedTuple):
    """Neighbouring axes that a reshape makes into others."""

    before: list[int]
    after: list[int]


def axis_groups(before: Shape, after: Shape) -> list[AxisGroup]:
    """The smallest groups of axes that hold the same number of elements before and after a reshape, in order.

    A size that is not known closes all that is in front of it into one group; what only one side has as axes of size 1
    belongs to the group in front.
    """
    groups: list[AxisGroup] = []
    i, j = len(before), len(after)
    while i and j:
        high_i, high_j = i, j
        i, j = i - 1, j - 1
        left, right = before[i], after[j]
        while left is not None and right is not None and left != right:
            if left < right:
                i -= 1
                left = _times(left, before[i])
            else:
                j -= 1
                right = _times(right, after[j])
        if left is None or right is None:
            i = j = 0
        groups.append(AxisGroup(list(range(i, high_i)), list(range(j, high_j))))
    if groups:
        groups[-1].before[:0], groups[-1].after[:0] = range(i), range(j)
    return groups[::-1]


def _times(size: int, other: int | None) -> int | None:
    return None if other is None else size * other


def broadcast(operands: Sequence[Laid]) -> tuple[list[Any], tuple[int, ...]]:
    """The operands of a broadcasting op in one common order, and that order.

    The order is that of the largest computed operand; constants are laid out to fit when the graph is converted.
    """
    rank = max(operand.rank for operand in operands)
    computed = [operand for operand in operands if not operand.constant] or list(operands)
    leader = max(computed, key=lambda operand: (operand.rank, math.prod(size or 1 for size in operand.shape)))
    order = leader.with_all_axes().expanded(rank).with_all_axes().order
    return [_fit(operand, order) for operand in operands], order


def _fit(operand: Laid, order: tuple[int, ...]) -> Any:
    if operand.rank == 0:
        return operand.value
    value = operand.expanded(len(order)).to(order).value
    if not operand.constant:
        return value
    sizes = value.shape.as_list()
    while len(sizes) > 1 and sizes[0] == 1:  # (1, 1, 1, C) as (C): what the converter knows as a bias
        sizes = sizes[1:]
    return reshaped(value, sizes)
