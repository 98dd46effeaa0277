"""Layer normalization in every spelling becomes one operator, with scale and bias; what only looks like it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.types import Layout
from edgekit.passes.contract import apply
from edgekit.passes.fuse.layer_norm import FuseLayerNorm
from edgekit.passes.fuse.transposes import CancelTransposes

_EPSILON = np.float32(1e-3)


def _mean(b, x, axes, **attributes):
    return b.op("ReduceMean", x, np.array(axes), **attributes)


def _start(b, draw, x, axes, *, power=2.0, epsilon=_EPSILON, keepdims=1):
    """The deviation, the mean, and √(v + ε) or its inverse; each in one of its spellings."""
    mean = _mean(b, x, axes)
    deviation = b.op("Sub", x, mean)
    square = b.op("Mul", deviation, deviation) if draw(st.booleans()) and power == 2 else None
    square = square or b.op("Pow", deviation, np.float32(power))
    sum_ = b.op("Add", *draw(st.permutations([_mean(b, square, axes, keepdims=keepdims), b.constant(epsilon)])))
    match draw(st.sampled_from(["sqrt", "reciprocal", "one over", "pow"])):
        case "sqrt":
            return deviation, mean, b.op("Sqrt", sum_), "Div"
        case "reciprocal":
            return deviation, mean, b.op("Reciprocal", b.op("Sqrt", sum_)), "Mul"
        case "one over":
            return deviation, mean, b.op("Div", np.float32(1), b.op("Pow", sum_, np.float32(0.5))), "Mul"
    return deviation, mean, b.op("Pow", sum_, np.float32(-0.5)), "Mul"


def _commuted(b, draw, op, one, other):
    return b.op(op, *draw(st.permutations([one, other])))


def _pytorch(b, draw, x, axes, *parameters, **changes):
    scale, bias = parameters
    deviation, _, root, op = _start(b, draw, x, axes, **changes)
    y = b.op("Div", deviation, root) if op == "Div" else _commuted(b, draw, "Mul", deviation, root)
    y = _commuted(b, draw, "Mul", y, b.constant(scale)) if scale is not None else y
    return _commuted(b, draw, "Add", y, b.constant(bias)) if bias is not None else y


def _tensorflow(b, draw, x, axes, *parameters, **changes):
    scale, bias = parameters
    _, mean, root, op = _start(b, draw, x, axes, **changes)
    s = b.op("Reciprocal", root) if op == "Div" else root
    s = _commuted(b, draw, "Mul", s, b.constant(scale)) if scale is not None else s
    product = _commuted(b, draw, "Mul", x, s)
    if bias is not None and draw(st.booleans()):
        return _commuted(b, draw, "Add", product, b.op("Sub", bias, _commuted(b, draw, "Mul", mean, s)))
    offset = _commuted(b, draw, "Mul", b.op("Neg", mean), s)
    if bias is None:
        return _commuted(b, draw, "Add", product, offset)
    return _commuted(b, draw, "Add", product, _commuted(b, draw, "Add", offset, b.constant(bias)))


_SPELLINGS = {"PyTorch": _pytorch, "TensorFlow": _tensorflow}


def _along(b, data, shape, axes):
    """A random scale or bias along the normalized axes, or none."""
    if data.draw(st.booleans()):
        return None
    return b.normal(*(size if axis in axes else 1 for axis, size in enumerate(shape, start=1)))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), spelling=st.sampled_from(sorted(_SPELLINGS)))
def test_every_spelling_becomes_one_operator(build, ops, data, spelling: str) -> None:
    shape = tuple(data.draw(st.lists(st.integers(2, 5), min_size=1, max_size=3)))
    b = build(shape)
    axes = list(range(len(shape) + 1))[-data.draw(st.integers(1, len(shape))) :]
    scale, bias = _along(b, data, shape, axes), _along(b, data, shape, axes)
    written = [axis - len(shape) - 1 if data.draw(st.booleans()) else axis for axis in axes]
    y = _SPELLINGS[spelling](b, data.draw, b.op("Softsign", "x"), written, scale, bias)
    model = b.model(y, layout=Layout.ND)
    fused, (record,) = apply(model, [FuseLayerNorm()], 0, until_stable=True)
    assert ops(fused) == ["Softsign", "LayerNormalization"]
    assert fused.outputs == model.outputs
    assert fused.graph[1].name == y
    assert record.fired >= 1


@settings(max_examples=30, deadline=None)
@given(data=st.data(), spelling=st.sampled_from(sorted(_SPELLINGS)))
def test_other_axes_get_transposes_that_meet_others(build, ops, names, data, spelling: str) -> None:
    """As Keras' ConvNeXt comes: the channels, which were the last axis, stand in front."""
    shape, axes = (3, 4, 5), [1]
    b = build(shape)
    scale, bias = _along(b, data, (5, 3, 4), axes), _along(b, data, (5, 3, 4), axes)
    x = b.op("Transpose", b.op("Softsign", "x"), perm=[0, 3, 1, 2])
    y = b.op("Neg", b.op("Transpose", _SPELLINGS[spelling](b, data.draw, x, axes, scale, bias), perm=[0, 2, 3, 1]))
    fused, _ = apply(b.model(y), [FuseLayerNorm(), CancelTransposes()], 0, until_stable=True)
    assert ops(fused) == ["Softsign", "LayerNormalization", "Neg"]


_NEAR_MISSES: dict[str, dict[str, Any]] = {
    "cubed": {"power": 3.0},
    "ε below zero": {"epsilon": np.float32(-1e-9)},
    "ε per channel": {"epsilon": np.full(5, 1e-3, np.float32)},
}


@settings(max_examples=30, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(_NEAR_MISSES)), spelling=st.sampled_from(sorted(_SPELLINGS)))
def test_other_arithmetic_stays(build, ops, data, name: str, spelling: str) -> None:
    b = build((4, 5))
    y = _SPELLINGS[spelling](b, data.draw, b.op("Softsign", "x"), [-1], None, None, **_NEAR_MISSES[name])
    model = b.model(y)
    _, (record,) = apply(model, [FuseLayerNorm()], 0)
    assert not record.modified


def _last(b, *, mean_axis=-1, variance_axis=-1, subtract="x"):
    deviation = b.op("Sub", subtract, _mean(b, "x", [mean_axis]), name="deviation")
    variance = _mean(b, b.op("Mul", deviation, deviation), [variance_axis])
    root = b.op("Sqrt", b.op("Add", variance, _EPSILON), name="root")
    return b.op("Div", deviation, root, name="y")


@pytest.mark.parametrize(
    "wrong",
    [{"mean_axis": 1}, {"variance_axis": 1}, {"mean_axis": 0, "variance_axis": 0}, {"subtract": "other"}],
    ids=["mean over another axis", "variance over another axis", "over the batch", "mean of another value"],
)
def test_another_mean_is_another_function(build, wrong) -> None:
    b = build((4, 4), batch=2)
    b.op("Softsign", "x", name="other")
    _, (record,) = apply(b.model(_last(b, **wrong)), [FuseLayerNorm()], 0)
    assert not record.modified


@pytest.mark.parametrize("read", ["deviation", "root"])
def test_what_is_read_elsewhere_keeps_its_nodes(build, read: str) -> None:
    b = build((4, 4))
    y = _last(b)
    _, (record,) = apply(b.model(y, b.op("Neg", read)), [FuseLayerNorm()], 0)
    assert not record.modified
    b = build((4, 4))
    y = _last(b)
    _, (record,) = apply(b.model(y, read), [FuseLayerNorm()], 0)
    assert not record.modified


@pytest.mark.parametrize("shape", [(4, 1), (2, 4, 5)])
def test_a_scale_along_other_axes_stays_behind(build, ops, shape) -> None:
    b = build((4, 5), batch=2)
    fused, _ = apply(b.model(b.op("Mul", _last(b), b.normal(*shape))), [FuseLayerNorm()], 0)
    assert ops(fused) == ["LayerNormalization", "Mul"]
