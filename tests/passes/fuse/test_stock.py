"""The stock passes do what they are used for, and lose no name, layout or other metadata under our contract."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.types import Layout
from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassRecord, apply
from edgekit.passes.fuse.stock import (
    EliminateDuplicates,
    FoldConstants,
    FoldPad,
    LiftConstants,
    RemoveDeadNodes,
)


def _apply(model: Model, each: Pass) -> tuple[Model, PassRecord]:
    fused, (record,) = apply(model, [each], seed=3)
    return fused, record


def test_constant_nodes_become_initializers(build, ops) -> None:
    b = build()
    fused, _ = _apply(b.model(b.op("Add", "x", b.op("Constant", value_float=2.0))), LiftConstants())
    assert ops(fused) == ["Add"]
    assert len(fused.graph.initializers) == 1


def test_what_depends_on_constants_alone_is_computed(build, ops, names) -> None:
    b = build()
    weights = b.op("Transpose", b.op("Mul", b.constant(b.normal(3, 3, 6, 3)), np.float32(2)), perm=[2, 3, 0, 1])
    fused, record = _apply(b.model(b.op("Conv", "x", weights, name="conv")), FoldConstants())
    assert (ops(fused), names(fused)) == (["Conv"], ["conv"])
    assert record.fired == 2


def test_large_constants_are_folded_too(build, ops) -> None:
    b = build((1024,))
    fused, _ = _apply(b.model(b.op("MatMul", "x", b.op("Neg", b.constant(b.normal(1024, 1024))))), FoldConstants())
    assert ops(fused) == ["MatMul"]


def test_the_symbolic_batch_is_no_constant(build, ops) -> None:
    b = build()
    size = b.op("Shape", "x", start=0, end=1)
    y = b.op("Reshape", "x", b.op("Concat", size, np.array([-1]), axis=0))
    fused, _ = _apply(b.model(y), FoldConstants())
    assert "Shape" in ops(fused)
    assert fused.inputs[0].shape[0] is None


def test_zeros_around_a_convolution_become_its_padding(build, ops, names) -> None:
    b = build()
    padded = b.op("Pad", "x", np.array([0, 0, 1, 0, 0, 0, 2, 3]))
    y = b.op("Conv", padded, b.normal(6, 3, 3, 3), name="conv", pads=[1, 1, 1, 1])
    fused, _ = apply(b.model(y), [FoldPad(), RemoveDeadNodes()], seed=0)
    assert (ops(fused), names(fused)) == (["Conv"], ["conv"])
    assert list(fused.graph[0].attributes["pads"].as_ints()) == [2, 1, 3, 4]


def test_a_shared_pad_stays_for_its_other_reader(build, ops) -> None:
    b = build()
    padded = b.op("Pad", "x", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    y = b.op("Concat", b.op("Conv", padded, b.normal(6, 3, 1, 1)), padded, axis=1)
    fused, _ = _apply(b.model(y), FoldPad())
    assert ops(fused) == ["Pad", "Conv", "Concat"]


@pytest.mark.parametrize(
    ("pads", "rest", "mode"),
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], [np.float32(1)], "constant"),
        ([0, 0, 1, 1, 0, 0, 1, 1], [], "reflect"),
        ([0, 0, 1, 1, 0, 0, 1, 1], [], "edge"),
        ([0, 0, -1, -1, 0, 0, -1, -1], [], "constant"),
        ([0, 1, 1, 1, 0, 0, 1, 1], [], "constant"),
    ],
    ids=["value", "reflect", "edge", "negative", "channels"],
)
def test_other_pads_stay(build, ops, pads, rest, mode) -> None:
    b = build((2 if pads[1] else 3, 8, 8))
    fused, record = _apply(
        b.model(b.op("Conv", b.op("Pad", "x", np.array(pads), *rest, mode=mode), b.normal(6, 3, 3, 3))), FoldPad()
    )
    assert not record.modified
    assert ops(fused) == ["Pad", "Conv"]


def test_of_equal_nodes_and_equal_weights_one_stays(build, ops, names) -> None:
    b = build()
    weights = b.normal(6, 3, 3, 3)
    one, other = (b.op("Relu", b.op("Conv", "x", weights.copy(), name=f"conv{i}"), name=f"relu{i}") for i in range(2))
    fused, record = _apply(b.model(b.op("Add", one, other, name="sum")), EliminateDuplicates())
    assert (ops(fused), names(fused)) == (["Conv", "Relu", "Add"], ["conv0", "relu0", "sum"])
    assert record.fired == 3


def test_equal_outputs_stay_two_outputs(build) -> None:
    b = build()
    model = b.model(b.op("Relu", "x", name="a"), b.op("Relu", "x", name="b"), layout=Layout.NCHW)
    fused, _ = _apply(model, EliminateDuplicates())
    assert fused.outputs == model.outputs


def test_what_no_output_needs_goes(build, ops) -> None:
    b = build()
    b.op("Conv", "x", b.normal(6, 3, 3, 3))
    fused, record = _apply(b.model(b.op("Neg", "x")), RemoveDeadNodes())
    assert ops(fused) == ["Neg"]
    assert not fused.graph.initializers
    assert record.fired == 2
