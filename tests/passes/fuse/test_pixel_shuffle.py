"""Pixels moved between depth and space by a Reshape, a Transpose and a Reshape: one operator, if it is its order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.types import Layout
from edgekit.passes.contract import apply
from edgekit.passes.fuse.pixel_shuffle import FusePixelShuffle


def _moved(b, x, split, perm, merged):
    y = b.op("Reshape", x, np.array(split), name="shuffle/Reshape")
    y = b.op("Transpose", y, perm=list(perm), name="shuffle")
    return b.op("Reshape", y, np.array(merged), name="shuffle/Reshape_1")


def _to_space(b, x, size, block, mode):
    c, h, w = size
    split, perm = {
        "CRD": ([c, block, block], (0, 1, 4, 2, 5, 3)),
        "DCR": ([block, block, c], (0, 3, 4, 1, 5, 2)),
    }[mode]
    return _moved(b, x, [-1, *split, h, w], perm, [-1, c, h * block, w * block])


def _to_depth(b, x, size, block, perm=(0, 3, 5, 1, 2, 4)):
    c, h, w = size
    return _moved(b, x, [-1, c, h, block, w, block], perm, [-1, c * block * block, h, w])


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(*[st.integers(1, 3)] * 4), mode=st.sampled_from(["CRD", "DCR", "to depth"]))
def test_it_is_one_operator(build, ops, names, size: tuple[int, ...], mode: str) -> None:
    c, h, w, block = *size[:3], size[3] + 1
    shape = (c, h * block, w * block) if mode == "to depth" else (c * block * block, h, w)
    b = build(shape)
    x = b.op("Softsign", "x", name="before")
    y = _to_depth(b, x, (c, h, w), block) if mode == "to depth" else _to_space(b, x, (c, h, w), block, mode)
    model = b.model(y, layout=Layout.NCHW)
    fused, (record,) = apply(model, [FusePixelShuffle()], 0)
    assert ops(fused) == ["Softsign", "SpaceToDepth" if mode == "to depth" else "DepthToSpace"]
    assert names(fused) == ["before", "shuffle"]
    assert (record.fired, record.max_relative) == (1, 0)
    assert fused.outputs == model.outputs


@pytest.mark.parametrize(
    "other",
    [
        lambda b: _to_space(b, "x", (2, 3, 3), 2, "CRD"),
        lambda b: _moved(b, "x", [-1, 2, 2, 2, 3, 3], (0, 1, 4, 3, 5, 2), [-1, 2, 6, 6]),
        lambda b: _moved(b, "x", [-1, 4, 2, 1, 3, 3], (0, 1, 4, 2, 5, 3), [-1, 4, 6, 3]),
        lambda b: _moved(b, "x", [-1, 2, 2, 2, 3, 3], (0, 1, 4, 2, 5, 3), [-1, 1, 12, 6]),
        lambda b: _moved(b, "x", [-1, 1, 4, 2, 3, 3], (0, 1, 4, 2, 5, 3), [-1, 1, 12, 6]),
    ],
    ids=["(the one that is)", "order", "strip", "merge", "oblong"],
)
def test_other_moves_stay(build, request, other) -> None:
    b = build((8, 3, 3))
    _, (record,) = apply(b.model(other(b)), [FusePixelShuffle()], 0)
    assert record.modified == ("the one" in request.node.name)


def test_pixel_unshuffle_has_no_operator(build) -> None:
    b = build((2, 4, 4))
    _, (record,) = apply(b.model(_to_depth(b, "x", (2, 2, 2), 2, perm=(0, 1, 3, 5, 2, 4))), [FusePixelShuffle()], 0)
    assert not record.modified


def test_a_second_reader_keeps_the_nodes(build) -> None:
    b = build((8, 3, 3))
    y = _to_space(b, "x", (2, 3, 3), 2, "CRD")
    _, (record,) = apply(b.model(y, b.op("Neg", "shuffle")), [FusePixelShuffle()], 0)
    assert not record.modified
