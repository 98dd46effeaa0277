"""Scale and shift in front of a linear layer: folded wherever that is exact, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.passes.contract import apply
from edgekit.passes.fuse.prescale import FoldPrescale

_LAYERS = {
    "conv": lambda b, x, bias: b.op("Conv", x, b.normal(4, 6, 3, 3), *bias, name="linear"),
    "strided": lambda b, x, bias: b.op("Conv", x, b.normal(4, 6, 2, 2), *bias, name="linear", strides=[2, 2]),
    "grouped": lambda b, x, bias: b.op("Conv", x, b.normal(4, 3, 3, 3), *bias, name="linear", group=2),
    "depthwise": lambda b, x, bias: b.op("Conv", x, b.normal(6, 1, 3, 3), name="linear", group=6, auto_pad="VALID"),
}
_PADDED = {
    "conv": lambda b, x: b.op("Conv", x, b.normal(4, 6, 3, 3), name="linear", pads=[1, 1, 1, 1]),
    "same": lambda b, x: b.op("Conv", x, b.normal(4, 6, 3, 3), name="linear", auto_pad="SAME_UPPER"),
    "transposed": lambda b, x: b.op("ConvTranspose", x, b.normal(6, 2, 2, 2), b.normal(4), name="linear", group=2),
}
_SCALES = {
    "Mul": lambda b, x: b.op("Mul", x, b.normal(6, 1, 1)),
    "Mul from the left": lambda b, x: b.op("Mul", b.normal(1, 6, 1, 1), x),
    "Div": lambda b, x: b.op("Div", x, np.float32(127.5)),
}
_SHIFTS = {
    "BatchNormalization": lambda b, x: b.batch_norm(x, 6),
    "Add": lambda b, x: b.op("Add", x, b.normal(6, 1, 1)),
    "Sub": lambda b, x: b.op("Sub", x, np.float32(1)),
    "Sub from": lambda b, x: b.op("Sub", b.normal(6, 1, 1), x),
}
_STEPS = _SCALES | _SHIFTS


@settings(max_examples=40, deadline=None)
@given(
    layer=st.sampled_from(sorted(_LAYERS)),
    steps=st.lists(st.sampled_from(sorted(_STEPS)), min_size=1, max_size=3),
    with_bias=st.booleans(),
)
def test_every_chain_of_steps_goes_into_its_convolution(build, names, layer, steps, with_bias) -> None:
    b = build((6, 5, 5))
    y = b.op("Relu", "x", name="act")
    for step in steps:
        y = _STEPS[step](b, y)
    model = b.model(_LAYERS[layer](b, y, [b.normal(4)] if with_bias else []))
    fused, (record,) = apply(model, [FoldPrescale()], 0)
    assert names(fused) == ["act", "linear"]
    assert record.fired == len(steps)
    assert fused.outputs == model.outputs


@settings(max_examples=20, deadline=None)
@given(layer=st.sampled_from(sorted(_PADDED)), step=st.sampled_from(sorted(_STEPS)))
def test_only_a_scale_passes_padding(build, layer: str, step: str) -> None:
    b = build((6, 5, 5))
    _, (record,) = apply(b.model(_PADDED[layer](b, _STEPS[step](b, b.op("Relu", "x")))), [FoldPrescale()], 0)
    assert record.modified == (step in _SCALES)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [(), (6,), (1, 6), (1,)])
def test_gemm_folds_with_alpha_and_beta(build, ops, trans_b: int, bias: tuple[int, ...]) -> None:
    b = build((5,))
    x = b.op("Add", b.op("Mul", b.batch_norm("x", 5), b.normal(5)), b.normal(1, 5))
    weights = b.normal(6, 5) if trans_b else b.normal(5, 6)
    y = b.op("Gemm", x, weights, *([b.normal(*bias)] if bias else []), alpha=0.5, beta=2.0, transB=trans_b)
    fused, (record,) = apply(b.model(y), [FoldPrescale()], 0)
    assert ops(fused) == ["Gemm"]
    assert record.fired == 3


def test_matmul_takes_a_scale_anywhere_and_a_shift_as_gemm(build, ops) -> None:
    b = build((7, 5))
    y = b.op("MatMul", b.op("Mul", b.op("Add", "x", b.normal(5)), b.normal(5)), b.normal(5, 6))
    assert ops(apply(b.model(y), [FoldPrescale()], 0)[0]) == ["Add", "MatMul"]
    b = build((5,))
    y = b.op("MatMul", b.op("Mul", b.op("Add", "x", b.normal(5)), b.normal(5)), b.normal(5, 6))
    assert ops(apply(b.model(y), [FoldPrescale()], 0)[0]) == ["Gemm"]


def test_what_something_else_reads_stays(build) -> None:
    b = build((6, 5, 5))
    scaled = b.op("Mul", "x", b.normal(6, 1, 1))
    y = b.op("Conv", scaled, b.normal(4, 6, 3, 3))
    for outputs in ([y, b.op("Neg", scaled)], [y, scaled]):
        _, (record,) = apply(b.model(*outputs), [FoldPrescale()], 0)
        assert not record.modified


@pytest.mark.parametrize("shape", [(5, 5), (6, 5, 1), (2, 6, 1, 1)])
def test_figures_that_vary_along_other_axes_stay(build, shape) -> None:
    b = build((6, 5, 5), batch=2)
    y = b.op("Conv", b.op("Mul", "x", b.normal(*shape)), b.normal(4, 6, 3, 3))
    _, (record,) = apply(b.model(y), [FoldPrescale()], 0)
    assert not record.modified


def test_a_figure_that_widens_the_input_stays(build) -> None:
    b = build((1, 5, 5))
    y = b.op("Conv", b.op("Mul", "x", b.normal(6, 1, 1)), b.normal(4, 6, 3, 3))
    _, (record,) = apply(b.model(y), [FoldPrescale()], 0)
    assert not record.modified


def test_what_would_not_be_finite_stays(build) -> None:
    b = build((6, 5, 5))
    y = b.op("Conv", b.op("Mul", "x", np.float32(1e38)), 1e6 * b.positive(4, 6, 3, 3))
    _, (record,) = apply(b.model(y), [FoldPrescale()], 0)
    assert not record.modified


def test_shared_weights_are_left_to_their_other_reader(build, ops) -> None:
    b = build((6, 5, 5))
    weights = b.constant(b.normal(4, 6, 3, 3))
    y = b.op("Conv", b.op("Mul", "x", b.normal(6, 1, 1)), weights)
    fused, (record,) = apply(b.model(b.op("Concat", y, b.op("Conv", "x", weights), axis=1)), [FoldPrescale()], 0)
    assert ops(fused) == ["Conv", "Conv", "Concat"]
    assert record.modified
