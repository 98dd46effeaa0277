"""Nodes that change nothing go; nodes that nearly change nothing stay."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.types import Layout
from edgekit.passes.contract import apply
from edgekit.passes.fuse.no_ops import EliminateNoOps


@pytest.mark.parametrize(
    "no_op",
    [
        lambda b: b.op("Identity", "r"),
        lambda b: b.op("Dropout", "r"),
        lambda b: b.op("Dropout", "r", np.float32(0.5), np.False_),
        lambda b: b.op("Mul", np.float32(1), "r"),
        lambda b: b.op("Div", "r", np.ones((3, 1, 1), np.float32)),
        lambda b: b.op("Add", "r", np.zeros((1, 3, 1, 1), np.float32)),
        lambda b: b.op("Sub", "r", np.float32(0)),
        lambda b: b.op("Cast", "r", to=1),
        lambda b: b.op("Concat", "r", axis=1),
        lambda b: b.op("Pad", "r", np.zeros(8, np.int64)),
        lambda b: b.op("Reshape", "r", np.array([0, 3, 8, 8])),
        lambda b: b.op("Expand", "r", np.array([1, 1, 1, 8])),
    ],
)
def test_it_goes(build, ops, names, no_op) -> None:
    b = build()
    b.op("Relu", "x", name="r")
    fused, (record,) = apply(b.model(b.op("Neg", no_op(b), name="n")), [EliminateNoOps()], seed=0)
    assert (ops(fused), names(fused)) == (["Relu", "Neg"], ["r", "n"])
    assert record.max_relative == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.op("Mul", "r", np.float32(1 + 2e-7)),
        lambda b: b.op("Sub", np.float32(0), "r"),
        lambda b: b.op("Div", np.float32(1), "r"),
        lambda b: b.op("Add", "r", np.zeros((2, 1, 3, 8, 8), np.float32)),
        lambda b: b.op("Reshape", "r", np.array([0, 3, 64])),
        lambda b: b.op("Pad", "r", np.array([0, 0, 1, 0, 0, 0, -1, 0])),
    ],
)
def test_it_stays(build, change) -> None:
    b = build()
    b.op("Relu", "x", name="r")
    _, (record,) = apply(b.model(b.op("Neg", change(b))), [EliminateNoOps()], seed=0)
    assert not record.modified


def test_one_that_makes_the_output_hands_on_its_name_and_layout(build, ops) -> None:
    b = build()
    y = b.op("Identity", b.op("Relu", "x"), name="y")
    fused, _ = apply(b.model(y, layout=Layout.NCHW), [EliminateNoOps()], seed=0)
    assert ops(fused) == ["Relu"]
    assert (fused.outputs[0].name, fused.outputs[0].layout) == ("y", Layout.NCHW)


def test_one_between_input_and_output_stays(build, ops) -> None:
    b = build()
    fused, _ = apply(b.model(b.op("Identity", "x")), [EliminateNoOps()], seed=0)
    assert ops(fused) == ["Identity"]


def test_two_outputs_never_become_one(build) -> None:
    b = build()
    y = b.op("Relu", "x")
    model = b.model(y, b.op("Identity", y))
    fused, _ = apply(model, [EliminateNoOps()], seed=0)
    assert fused.outputs == model.outputs
