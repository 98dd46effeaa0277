"""Repetition spelled as Unsqueeze, Tile and Reshape becomes one Resize; what repeats otherwise stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.fuse.upsampling import FuseUpsampling


def _repeat(b, x, shape, axis, *, times, order=None):
    """Repeat along an axis (0 is the first behind the batch), with a Transpose of the five axes on the way."""
    y = b.op("Unsqueeze", x, np.array([axis + 2]))
    y = b.op("Tile", y, np.array([times if at == axis + 2 else 1 for at in range(len(shape) + 2)]))
    sizes = [size * times if at == axis else size for at, size in enumerate(shape)]
    if order is not None:
        y = b.op("Transpose", y, perm=order)
        sizes = [sizes[at - 1 - (at > axis + 2)] for at in order[1:] if at != axis + 2]
    return b.op("Reshape", y, np.array([-1, *sizes])), tuple(sizes)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), shape=st.tuples(*[st.integers(2, 4)] * 3))
def test_all_axes_are_one_resize(build, ops, data, shape) -> None:
    b = build(shape)
    y, sizes = b.op("Abs", "x"), shape
    for axis in data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3)):
        y, sizes = _repeat(b, y, sizes, axis, times=data.draw(st.integers(2, 3)))
    fused, record = apply(b.model(b.op("Neg", y)), [FuseUpsampling()], seed=0)
    assert ops(fused) == ["Abs", "Resize", "Neg"]
    assert record[0].max_relative == 0


def test_upsampling_from_keras_is_one_resize_between_convolutions(build, ops) -> None:
    """As UpSampling2D comes between convolutions: two axes, and a change of layout in the middle."""
    b = build((3, 4, 5))
    y, sizes = _repeat(b, b.op("Abs", "x"), (3, 4, 5), 1, times=2, order=[0, 2, 3, 4, 1])
    y, _ = _repeat(b, y, sizes, 1, times=2)
    y = b.op("Neg", b.op("Transpose", y, perm=[0, 3, 1, 2]))
    fused, _ = apply(b.model(y), FUSION, seed=0, until_stable=True)
    assert ops(fused) == ["Abs", "Resize", "Neg"]
    resize = fused.graph[1]
    assert resize.inputs[2] is not None
    assert resize.inputs[2].const_value is not None
    assert resize.inputs[2].const_value.numpy().tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("at", "repeats", "merged"),
    [
        (2, [1, 1, 2, 1, 1], [-1, 3, 8, 5]),
        (3, [1, 1, 1, 2, 1], [-1, 3, 4, 10]),
        (2, [1, 1, 2, 2, 1], [-1, 6, 8, 5]),
        (1, [1, 2, 1, 1, 1], [-1, 6, 4, 5]),
    ],
    ids=["0 1 0 1", "0 1 0 1 behind", "two axes", "in front"],
)
def test_only_repetition_in_place_is_upsampling(build, ops, at, repeats, merged) -> None:
    b = build((3, 4, 5))
    y = b.op("Tile", b.op("Unsqueeze", "x", np.array([at])), np.array(repeats))
    fused, _ = apply(b.model(b.op("Neg", b.op("Reshape", y, np.array(merged)))), [FuseUpsampling()], seed=0)
    assert "Resize" not in ops(fused)
