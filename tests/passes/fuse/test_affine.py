"""Scale and shift behind a linear layer: folded wherever that is exact, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.passes.contract import apply
from edgekit.passes.fuse.affine import FoldAffine

_LINEAR = {
    "conv": lambda b, x, bias: b.op("Conv", x, b.normal(6, 3, 3, 3), *bias(6), name="linear"),
    "grouped": lambda b, x, bias: b.op("Conv", x, b.normal(6, 1, 3, 3), *bias(6), name="linear", group=3),
    "transposed": lambda b, x, bias: b.op("ConvTranspose", x, b.normal(3, 6, 2, 2), *bias(6), name="linear"),
    "transposed grouped": lambda b, x, bias: b.op(
        "ConvTranspose", x, b.normal(3, 2, 2, 2), *bias(6), name="linear", group=3, strides=[2, 2]
    ),
}
_STEPS = {
    "BatchNormalization": lambda b, x: b.batch_norm(x, 6),
    "Mul": lambda b, x: b.op("Mul", x, b.normal(6, 1, 1)),
    "Mul from the left": lambda b, x: b.op("Mul", b.normal(1, 6, 1, 1), x),
    "Mul by a scalar": lambda b, x: b.op("Mul", x, np.float32(0.3)),
    "Div": lambda b, x: b.op("Div", x, b.positive(6, 1, 1)),
    "Add": lambda b, x: b.op("Add", x, b.normal(1, 6, 1, 1)),
    "Sub": lambda b, x: b.op("Sub", x, b.normal(6, 1, 1)),
    "Sub from": lambda b, x: b.op("Sub", b.normal(6, 1, 1), x),
}


def _bias(b, with_bias):
    return lambda channels: [b.normal(channels)] if with_bias else []


@settings(max_examples=40, deadline=None)
@given(
    linear=st.sampled_from(sorted(_LINEAR)),
    steps=st.lists(st.sampled_from(sorted(_STEPS)), min_size=1, max_size=4),
    with_bias=st.booleans(),
)
def test_every_chain_of_steps_goes_into_its_convolution(build, names, linear, steps, with_bias) -> None:
    b = build()
    y = _LINEAR[linear](b, "x", _bias(b, with_bias))
    for step in steps:
        y = _STEPS[step](b, y)
    model, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert names(model) == ["linear"]
    assert record.fired == len(steps)
    assert record.max_relative is not None
    assert record.max_relative <= 1e-5
    assert [value.name for value in model.graph.outputs] == [y]


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [(), (6,), (1, 6), (1,)])
def test_gemm_folds_with_alpha_and_beta(build, ops, trans_b: int, bias: tuple[int, ...]) -> None:
    b = build((5,))
    weights = b.normal(6, 5) if trans_b else b.normal(5, 6)
    y = b.op("Gemm", "x", weights, *([b.normal(*bias)] if bias else []), alpha=0.5, beta=2.0, transB=trans_b)
    y = b.op("Add", b.op("Mul", b.batch_norm(y, 6), b.normal(6)), b.normal(1, 6))
    model, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert ops(model) == ["Gemm"]
    assert record.max_relative is not None
    assert record.max_relative <= 1e-5


def test_matmul_of_a_matrix_becomes_gemm_for_its_bias(build, ops, names) -> None:
    b = build((5,))
    y = b.batch_norm(b.op("MatMul", "x", b.normal(5, 6), name="dense"), 6)
    model, _ = apply(b.model(y), [FoldAffine()], 0)
    assert (ops(model), names(model)) == (["Gemm"], ["dense"])


def test_matmul_of_a_sequence_takes_the_scale_and_leaves_the_bias(build, ops) -> None:
    b = build((7, 5))
    y = b.op("Add", b.op("Mul", b.op("MatMul", "x", b.normal(5, 6)), b.normal(6)), b.normal(6))
    model, _ = apply(b.model(y), [FoldAffine()], 0)
    assert ops(model) == ["MatMul", "Add"]


def test_a_second_reader_of_the_convolution_keeps_it_as_it_is(build, ops) -> None:
    b = build()
    conv = b.op("Conv", "x", b.normal(6, 3, 3, 3))
    y = b.op("Add", b.batch_norm(conv, 6), conv)
    model, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert ops(model) == ["Conv", "BatchNormalization", "Add"]
    assert not record.modified


def test_a_convolution_that_is_an_output_keeps_its_value(build, ops) -> None:
    b = build()
    conv = b.op("Conv", "x", b.normal(6, 3, 3, 3))
    model, _ = apply(b.model(conv, b.batch_norm(conv, 6)), [FoldAffine()], 0)
    assert ops(model) == ["Conv", "BatchNormalization"]


def test_shared_weights_are_left_to_their_other_reader(build, ops) -> None:
    b = build()
    weights, bias = b.constant(b.normal(6, 3, 3, 3)), b.constant(b.normal(6))
    folded = b.batch_norm(b.op("Conv", "x", weights, bias), 6)
    y = b.op("Concat", folded, b.op("Conv", "x", weights, bias), axis=1)
    model, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert ops(model) == ["Conv", "Conv", "Concat"]
    assert record.max_relative is not None
    assert record.max_relative <= 1e-5


@pytest.mark.parametrize("shape", [(8, 8), (6, 8, 1), (2, 6, 1, 1), (1, 1, 6, 1, 1)])
def test_constants_that_vary_along_other_axes_stay(build, ops, shape: tuple[int, ...]) -> None:
    b = build(batch=2)
    y = b.op("Mul", b.op("Conv", "x", b.normal(6, 3, 3, 3), pads=[1, 1, 1, 1]), b.normal(*shape))
    model, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert not record.modified
    assert ops(model) == ["Conv", "Mul"]


def test_a_constant_that_widens_one_channel_stays(build) -> None:
    b = build()
    y = b.op("Mul", b.op("Conv", "x", b.normal(1, 3, 3, 3)), b.normal(6, 1, 1))
    _, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert not record.modified


def test_batch_normalization_in_training_mode_stays(build) -> None:
    b = build()
    y = b.batch_norm(b.op("Conv", "x", b.normal(6, 3, 3, 3)), 6, training_mode=1)
    b.extra_outputs("running_mean", "running_var")
    _, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert not record.modified


@pytest.mark.parametrize("divisor", [0.0, 1e-38])
def test_a_fold_that_would_not_be_finite_is_left_alone(build, divisor: float) -> None:
    b = build()
    y = b.op("Div", b.op("Conv", "x", 1e6 * b.positive(6, 3, 3, 3)), np.full((6, 1, 1), divisor, np.float32))
    _, (record,) = apply(b.model(y), [FoldAffine()], 0)
    assert not record.modified


@pytest.mark.parametrize("linear", ["Gemm", "MatMul"])
def test_a_normalization_of_vectors_is_found_behind_its_reshapes(build, ops, linear: str) -> None:
    """As Keras' dense networks come: (batch, C) → (batch, C, 1, 1) → BatchNormalization → (batch, C)."""
    b = build((5,))
    y = b.op(linear, "x", b.normal(5, 6))
    y = b.op("Reshape", b.batch_norm(b.op("Reshape", y, np.array([-1, 6, 1, 1])), 6), np.array([-1, 6]))
    model, _ = apply(b.model(y), [FoldAffine()], 0)
    assert ops(model) == ["Gemm", "Reshape", "Reshape"]


def test_a_reshape_that_moves_the_channels_hides_the_layer(build) -> None:
    b = build((2, 2, 2))
    y = b.op("Reshape", b.op("Conv", "x", b.normal(4, 2, 1, 1)), np.array([-1, 2, 2, 4]))
    _, (record,) = apply(b.model(b.op("Mul", y, b.normal(4))), [FoldAffine()], 0)
    assert not record.modified
