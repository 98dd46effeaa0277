"""Transposes cancel where they can, also past elementwise ops, and never become more."""

from __future__ import annotations

import itertools
from collections.abc import Callable

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


_AXIS = np.array([0.1, 0.2, 0.3], np.float32)
_SHAPE = (3, 4, 5)  # behind the batch, of what the operators below read
_MOVABLE: dict[str, Callable[..., str]] = {
    "Pad": lambda b, x: b.op("Pad", x, np.array([0, 1, 0, 2, 0, 0, 3, 0])),
    "Pad of axes": lambda b, x: b.op("Pad", x, np.array([1, 2]), np.float32(1), np.array([-1])),
    "Resize by scales": lambda b, x: b.op("Resize", x, "", np.array([1, 2, 1, 3], np.float32), mode="nearest"),
    "Resize to sizes": lambda b, x: b.op("Resize", x, "", "", np.array([8, 2]), mode="linear", axes=[1, 2]),
    "Slice": lambda b, x: b.op("Slice", x, np.array([0, 0, 1]), np.array([9, 3, 3])),
    "Slice of axes": lambda b, x: b.op("Slice", x, np.array([1]), np.array([5]), np.array([-1]), np.array([2])),
    "Tile": lambda b, x: b.op("Tile", x, np.array([1, 2, 1, 3])),
    "Softmax": lambda b, x: b.op("Softmax", x),
    "LogSoftmax": lambda b, x: b.op("LogSoftmax", x, axis=1),
    "ReduceMean": lambda b, x: b.op("ReduceMean", x, np.array([1, -1])),
    "ReduceMax": lambda b, x: b.op("ReduceMax", x, np.array([2])),
    "Where": lambda b, x: b.op("Where", b.op("Greater", x, b.normal(4, 5, 1)), x, b.normal(5, 3)),
    "Swish": lambda b, x: b.op("Swish", x),
    "QuantizeLinear": lambda b, x: b.op(
        "DequantizeLinear", b.op("QuantizeLinear", x, np.float32(0.1)), np.float32(0.1)
    ),
    "per axis": lambda b, x: b.op(
        "DequantizeLinear", b.op("QuantizeLinear", x, b.constant(_AXIS), axis=3), b.constant(_AXIS), axis=-1
    ),
}


@settings(max_examples=60, deadline=None)
@given(first=st.sampled_from(sorted(_MOVABLE)), second=st.sampled_from([None, "Softmax", "ReduceMax", "Swish"]))
def test_operators_that_can_work_in_either_order_are_no_obstacle(build, ops, first: str, second: str | None) -> None:
    b = build(_SHAPE)
    y = _MOVABLE[first](b, b.op("Transpose", b.op("Abs", "x"), perm=_TO_NHWC))
    y = _MOVABLE[second](b, y) if second else y
    y = b.op("Neg", b.op("Transpose", y, perm=_TO_NCHW))
    fused, record = _cancel(b.model(y))
    assert "Transpose" not in ops(fused)
    assert record.fired == 2
    assert all(value.shape is not None for node in fused.graph for value in node.outputs)


def test_a_transpose_goes_where_it_has_to_be_only_once(build, ops) -> None:
    """Splitting needs two Transposes behind it for one before, and gains where both meet their inverse."""
    b = build((6, 8, 8))
    x = b.op("Transpose", b.op("Relu", "x"), perm=_TO_NHWC)
    one = b.op("Split", x, np.array([2, 4]), axis=-1)
    b.extra_outputs("other")
    y = b.op("Transpose", b.op("Swish", "other"), perm=_TO_NCHW)
    fused, _ = _cancel(b.model(y, b.op("Transpose", one, perm=_TO_NCHW)))
    assert "Transpose" not in ops(fused)
    b = build((6, 8, 8))
    x = b.op("Transpose", b.op("Relu", "x"), perm=_TO_NHWC)
    one = b.op("Split", x, np.array([2, 4]), axis=-1)
    b.extra_outputs("other")
    fused, record = _cancel(b.model(one, "other"))
    assert ops(fused) == ["Relu", "Transpose", "Split"]
    assert not record.modified


def test_a_gain_in_one_place_is_kept_where_another_offers_none(build, ops) -> None:
    b = build((4, 4, 4))
    x = b.op("Transpose", b.op("Relu", "x"), perm=_TO_NHWC)
    y = b.op("Conv", b.op("Transpose", b.op("Tanh", x), perm=_TO_NCHW), b.normal(4, 4, 1, 1))
    z = b.op("MatMul", b.op("Neg", x), b.normal(4, 2))
    fused, _ = _cancel(b.model(y, z))
    assert ops(fused).count("Transpose") == 1


def test_a_reduction_that_drops_axes_reads_either_order(build, ops) -> None:
    """As Keras' GlobalAveragePooling2D comes: the mean over axes 1 and 2 of channels last."""
    b = build((4, 8, 8))
    x = b.op("Transpose", b.op("Conv", "x", b.normal(4, 4, 1, 1)), perm=_TO_NHWC)
    y = b.op("ReduceMean", b.op("Relu", x), np.array([1, 2]), keepdims=0)
    assert ops(_cancel(b.model(y))[0]) == ["Conv", "Relu", "ReduceMean"]
    b = build((4, 8, 8))
    x = b.op("Transpose", "x", perm=[0, 3, 2, 1])
    model = b.model(b.op("ReduceMean", x, np.array([1]), keepdims=0))
    assert ops(_cancel(model)[0]) == ["Transpose", "ReduceMean"]  # it would swap what is left


def test_swaps_that_are_their_own_inverse_cancel_too(build, ops) -> None:
    b = build((4, 5))
    y = b.op("Transpose", b.op("Tanh", b.op("Transpose", b.op("Relu", "x"), perm=[0, 2, 1])), perm=[0, 2, 1])
    y = b.op("Transpose", b.op("Softmax", b.op("Transpose", b.op("Abs", y), perm=[0, 2, 1])), perm=[0, 2, 1])
    assert ops(_cancel(b.model(b.op("Neg", y)))[0]) == ["Relu", "Tanh", "Abs", "Softmax", "Neg"]


def test_an_output_that_would_be_an_input_or_another_output_stays_a_node_of_its_own(build, ops) -> None:
    b = build()
    x = b.op("Transpose", b.op("Relu", "x", name="r"), perm=_TO_NHWC)
    y = b.op("Transpose", x, perm=_TO_NCHW, name="again")
    model = b.model("r", y, b.op("Transpose", b.op("Tanh", x), perm=_TO_NCHW))
    fused, _ = _cancel(model)
    assert fused.outputs == model.outputs
    assert ops(fused).count("Transpose") <= 2


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_tangle_keeps_its_function_and_gains_no_transpose(build, ops, data) -> None:
    """Values of a cube (3, 3, 3) fit each other in every layout, so anything may meet anything."""
    b = build((3, 3, 3), seed=data.draw(st.integers(0, 9)))
    values = ["x"]
    for _ in range(data.draw(st.integers(1, 12))):
        one, other = (data.draw(st.sampled_from(values)) for _ in range(2))
        match data.draw(
            st.sampled_from(["transpose", "transpose", "unary", "constant", "binary", "axis", "split", "cut"])
        ):
            case "transpose":
                values.append(b.op("Transpose", one, perm=data.draw(st.sampled_from(_PERMUTATIONS))))
            case "unary":
                values.append(b.op(data.draw(st.sampled_from(["Relu", "Tanh", "Neg"])), one))
            case "constant":
                shape = data.draw(st.sampled_from([(), (3,), (3, 1), (3, 3, 3), (1, 3, 1, 1)]))
                values.append(b.op("Mul", one, b.normal(*shape)))
            case "binary":
                values.append(b.op("Add", one, other))
            case "axis":
                values.append(b.op("Softmax", one, axis=data.draw(st.integers(1, 3))))
            case "split":
                axis = data.draw(st.integers(1, 3))
                half = b.op("Split", one, np.array([1, 2]), axis=axis)
                b.extra_outputs(f"{half}_rest")
                values.append(b.op("Concat", f"{half}_rest", half, axis=axis))
            case "cut":
                axes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
                values.append(b.op("Add", one, b.op("ReduceMax", one, np.array(axes))))
    outputs = list(dict.fromkeys([values[-1], data.draw(st.sampled_from(values[1:]))]))
    model = b.model(*outputs)
    fused, _ = _cancel(model)
    assert ops(fused).count("Transpose") <= ops(model).count("Transpose")
