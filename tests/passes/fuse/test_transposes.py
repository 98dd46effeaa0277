"""Transposes cancel where they can, also past elementwise ops, and never become more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.types import Layout
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse.transposes import CancelTransposes

_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
_PERMUTATIONS = [list(p) for p in itertools.permutations(range(4)) if p[0] == 0]


def _cancel(model: Model):
    fused, (record,) = apply(model, [CancelTransposes()], seed=1)
    return fused, record


def test_a_pair_cancels(build, ops) -> None:
    b = build()
    x = b.op("Relu", "x")
    y = b.op("Neg", b.op("Transpose", b.op("Transpose", x, perm=_TO_NHWC), perm=_TO_NCHW))
    assert ops(_cancel(b.model(y))[0]) == ["Relu", "Neg"]


def test_others_merge_into_one(build, ops) -> None:
    b = build()
    y = b.op("Transpose", b.op("Transpose", "x", perm=_TO_NHWC), perm=_TO_NHWC)
    fused, _ = _cancel(b.model(y))
    assert ops(fused) == ["Transpose"]
    assert [value.name for value in fused.graph.outputs] == [y]


def test_one_that_does_nothing_goes(build, ops) -> None:
    b = build()
    y = b.op("Neg", b.op("Transpose", "x", perm=[0, 1, 2, 3]))
    assert ops(_cancel(b.model(y))[0]) == ["Neg"]


def test_a_pair_between_input_and_output_stays_one_node(build) -> None:
    b = build()
    y = b.op("Transpose", b.op("Transpose", "x", perm=_TO_NHWC), perm=_TO_NCHW)
    fused, _ = _cancel(b.model(y))
    assert len(fused.graph) >= 1


def test_a_chain_of_elementwise_ops_is_no_obstacle(build, ops) -> None:
    b = build((3, 4, 5))
    y = b.op("Transpose", "x", perm=_TO_NHWC)
    y = b.op("Add", b.op("Mul", y, b.normal(3)), b.normal(4, 5, 1))
    y = b.op("Clip", b.op("PRelu", y, b.normal(1, 1, 3)), np.float32(-1), np.float32(1))
    y = b.op("Neg", b.op("Transpose", y, perm=_TO_NCHW))
    fused, record = _cancel(b.model(y))
    assert ops(fused) == ["Mul", "Add", "PRelu", "Clip", "Neg"]
    assert record.max_relative == 0


def test_a_residual_between_transposed_convolutions_keeps_no_transpose(build, ops, names) -> None:
    b = build((4, 8, 8))
    first = b.op("Transpose", b.op("Conv", "x", b.normal(4, 4, 1, 1)), perm=_TO_NHWC)
    act = b.op("Relu", first, name="act")
    second = b.op("Conv", b.op("Transpose", act, perm=_TO_NCHW), b.normal(4, 4, 1, 1))
    total = b.op("Add", b.op("Transpose", second, perm=_TO_NHWC), act, name="residual")
    y = b.op("Conv", b.op("Transpose", total, perm=_TO_NCHW), b.normal(2, 4, 1, 1))
    fused, _ = _cancel(b.model(y))
    assert ops(fused) == ["Conv", "Relu", "Conv", "Add", "Conv"]
    assert {"act", "residual"} <= set(names(fused))


@pytest.mark.parametrize("axis", [3, -1, 1])
def test_concat_changes_its_axis(build, ops, axis: int) -> None:
    b = build()
    halves = [b.op("Transpose", b.op(op, "x"), perm=_TO_NHWC) for op in ("Relu", "Neg")]
    y = b.op("Abs", b.op("Transpose", b.op("Concat", *halves, axis=axis), perm=_TO_NCHW))
    assert ops(_cancel(b.model(y))[0]) == ["Relu", "Neg", "Concat", "Abs"]


def test_nothing_moves_where_nothing_is_gained(build, ops) -> None:
    b = build()
    y = b.op("Softmax", b.op("Relu", b.op("Transpose", "x", perm=_TO_NHWC)), axis=-1)
    fused, record = _cancel(b.model(y))
    assert not record.modified
    assert ops(fused) == ["Transpose", "Relu", "Softmax"]


def test_the_layout_of_an_output_stays(build, ops) -> None:
    b = build()
    y = b.op("Transpose", b.op("Relu", b.op("Transpose", b.op("Neg", "x"), perm=_TO_NHWC)), perm=_TO_NCHW)
    fused, _ = _cancel(b.model(y, layout=Layout.NCHW))
    assert ops(fused) == ["Neg", "Relu"]
    assert fused.outputs[0].layout is Layout.NCHW


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_tangle_keeps_its_function_and_gains_no_transpose(build, ops, data) -> None:
    """Values of a cube (3, 3, 3) fit each other in every layout, so anything may meet anything."""
    b = build((3, 3, 3), seed=data.draw(st.integers(0, 9)))
    values = ["x"]
    for _ in range(data.draw(st.integers(1, 12))):
        one, other = (data.draw(st.sampled_from(values)) for _ in range(2))
        match data.draw(st.sampled_from(["transpose", "transpose", "unary", "constant", "binary"])):
            case "transpose":
                values.append(b.op("Transpose", one, perm=data.draw(st.sampled_from(_PERMUTATIONS))))
            case "unary":
                values.append(b.op(data.draw(st.sampled_from(["Relu", "Tanh", "Neg"])), one))
            case "constant":
                shape = data.draw(st.sampled_from([(), (3,), (3, 1), (3, 3, 3), (1, 3, 1, 1)]))
                values.append(b.op("Mul", one, b.normal(*shape)))
            case "binary":
                values.append(b.op("Add", one, other))
    outputs = list(dict.fromkeys([values[-1], data.draw(st.sampled_from(values[1:]))]))
    model = b.model(*outputs)
    fused, _ = _cancel(model)
    assert ops(fused).count("Transpose") <= ops(model).count("Transpose")
