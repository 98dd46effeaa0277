"""Reshapes become fewer: chains, ones among Transposes, means that drop axes, and products around merged batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.types import Layout
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.fuse.no_ops import EliminateNoOps
from edgekit.passes.fuse.reshapes import MergeReshapes
from edgekit.passes.fuse.transposes import CancelTransposes


def _fused(model):
    fused, (record, *_) = apply(
        model, [MergeReshapes(), CancelTransposes(), EliminateNoOps()], seed=0, until_stable=True
    )
    for node in fused.graph:
        assert node.outputs[0].shape is not None, node.name
    return fused, record


@pytest.mark.parametrize("shape", [[0, 4, -1], [0, 4, 48], [-1, 4, 48]])
def test_chains_merge_and_never_name_the_batch(build, ops, shape) -> None:
    b = build()
    y = b.op("Reshape", b.op("Reshape", "x", np.array([-1, 6, 32])), np.array([0, 4, 48]))
    y = b.op("Reshape", b.op("Unsqueeze", b.op("Flatten", y), np.array([1, 3])), np.array(shape))
    fused, record = _fused(b.model(b.op("Neg", y)))
    assert ops(fused) == ["Reshape", "Neg"]
    assert fused.outputs[0].shape == (None, 4, 48)
    assert record.max_relative == 0


def test_a_view_that_something_else_reads_stays(build, ops) -> None:
    b = build()
    first = b.op("Reshape", "x", np.array([0, 6, 32]))
    model = b.model(b.op("Reshape", first, np.array([0, 4, 48])), b.op("Neg", first))
    assert ops(_fused(model)[0]).count("Reshape") == 2


def test_a_transpose_that_moves_ones_only_is_a_view(build, ops) -> None:
    b = build((1, 1, 5))
    y = b.op("Transpose", b.op("Abs", "x"), perm=[0, 3, 1, 2])
    fused, _ = _fused(b.model(b.op("Neg", y)))
    assert ops(fused) == ["Abs", "Reshape", "Neg"]


def test_ones_between_views_need_no_transpose_of_five_axes(build, ops) -> None:
    b = build((6, 8))
    y = b.op("Unsqueeze", b.op("Reshape", "x", np.array([0, 6, 2, 4])), np.array([3]))
    y = b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3, 4]), np.array([-1, 2, 6, 4]))
    fused, _ = _fused(b.model(b.op("Neg", y)))
    assert ops(fused) == ["Reshape", "Transpose", "Neg"]
    assert list(fused.graph[1].attributes["perm"].as_ints()) == [0, 2, 1, 3]


def test_a_mean_that_drops_axes_keeps_them_where_they_come_back(build, ops) -> None:
    """As squeeze-and-excitation comes from Keras."""
    b = build((4, 8, 8))
    mean = b.op("ReduceMean", b.op("Relu", "x"), np.array([2, 3]), keepdims=0)
    y = b.op("Conv", b.op("Reshape", mean, np.array([-1, 4, 1, 1])), b.normal(2, 4, 1, 1))
    fused, _ = _fused(b.model(y))
    assert ops(fused) == ["Relu", "ReduceMean", "Conv"]


@pytest.mark.parametrize("shape", [[-1, 1, 4, 1], [-1, 2, 2], [-1, 1, 1, 4]])
def test_a_mean_keeps_no_axes_that_come_back_elsewhere(build, ops, shape) -> None:
    b = build((4, 8, 8))
    mean = b.op("ReduceMean", b.op("Relu", "x"), np.array([2, 3]), keepdims=0)
    assert ops(_fused(b.model(b.op("Neg", b.op("Reshape", mean, np.array(shape)))))[0])[2] == "Reshape"


def test_a_dense_layer_over_a_sequence_needs_no_reshape(build, ops) -> None:
    b = build((5, 4))
    y = b.op("MatMul", b.op("Reshape", b.op("Relu", "x"), np.array([-1, 4])), b.normal(4, 3), name="dense")
    y = b.op("Add", b.op("Reshape", y, np.array([-1, 5, 3])), b.normal(3))
    fused, _ = apply(b.model(y), [*FUSION], seed=0, until_stable=True)
    assert ops(fused) == ["Relu", "MatMul", "Add"]


def test_a_product_whose_result_stays_merged_stays(build, ops) -> None:
    b = build((5, 4))
    y = b.op("Neg", b.op("MatMul", b.op("Reshape", "x", np.array([-1, 4])), b.normal(4, 3)))
    assert ops(_fused(b.model(b.op("Reshape", y, np.array([-1, 5, 3]))))[0]) == ["Reshape", "MatMul", "Neg", "Reshape"]


def test_a_flattened_image_is_no_sequence(build, ops) -> None:
    b = build((5, 4))
    y = b.op("MatMul", b.op("Flatten", b.op("Relu", "x")), b.normal(20, 6))
    fused, _ = _fused(b.model(b.op("Reshape", y, np.array([-1, 2, 3]))))
    assert ops(fused) == ["Relu", "Flatten", "MatMul", "Reshape"]


def _keras_attention(b, heads, steps, size):
    """As Keras' MultiHeadAttention comes through TensorFlow: einsums in axes of 5, products of 3."""
    projected = []
    for place in range(3):
        dense = b.op("MatMul", "x", b.normal(heads * size, heads * size))
        projected.append(b.op("Reshape", dense, np.array([0, steps, heads, size]), name=f"head_{place}"))
    query = b.op("Transpose", b.op("Unsqueeze", projected[0], np.array([3])), perm=[0, 2, 1, 3, 4])
    query = b.op("Reshape", query, np.array([-1, steps, size]))
    key = b.op("Transpose", b.op("Unsqueeze", projected[1], np.array([1])), perm=[0, 3, 1, 2, 4])
    key = b.op("Transpose", b.op("Reshape", key, np.array([-1, steps, size])), perm=[0, 2, 1])
    value = b.op("Transpose", b.op("Unsqueeze", projected[2], np.array([2])), perm=[0, 3, 2, 4, 1])
    value = b.op("Transpose", b.op("Reshape", value, np.array([-1, size, steps])), perm=[0, 2, 1])
    scores = b.op(
        "Squeeze", b.op("Reshape", b.op("MatMul", query, key), np.array([-1, heads, steps, steps, 1])), np.array([4])
    )
    shares = b.op("Unsqueeze", b.op("Softmax", b.op("Mul", scores, np.float32(0.5))), np.array([3]))
    y = b.op("MatMul", b.op("Reshape", shares, np.array([-1, steps, steps])), value)
    y = b.op("Squeeze", b.op("Reshape", y, np.array([-1, heads, steps, size, 1])), np.array([4]))
    y = b.op("Reshape", b.op("Transpose", y, perm=[0, 2, 1, 3]), np.array([0, steps, heads * size]))
    return b.op("MatMul", y, b.normal(heads * size, heads * size))


@settings(max_examples=10, deadline=None)
@given(heads=st.integers(2, 3), steps=st.integers(2, 6), size=st.integers(2, 4))
def test_attention_from_keras_is_as_plain_as_pytorchs(build, ops, heads: int, steps: int, size: int) -> None:
    b = build((steps, heads * size))
    model = b.model(_keras_attention(b, heads, steps, size))
    fused, _ = apply(model, FUSION, seed=0, until_stable=True)
    counts = {op: ops(fused).count(op) for op in ops(fused)}
    assert counts == {"MatMul": 6, "Reshape": 4, "Transpose": 4, "Mul": 1, "Softmax": 1}


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_tangle_keeps_its_function_and_gains_no_node(build, ops, data) -> None:
    b = build((2, 6, 4), seed=data.draw(st.integers(0, 9)))
    shapes: dict[str, tuple[int, ...]] = {"x": (2, 6, 4)}
    for _ in range(data.draw(st.integers(1, 9))):
        x = data.draw(st.sampled_from(sorted(shapes)))
        shape = shapes[x]
        match data.draw(st.sampled_from(["reshape", "reshape", "transpose", "transpose", "ones", "mean", "product"])):
            case "reshape":
                new = data.draw(st.sampled_from([(2, 6, 4), (48,), (12, 4), (2, 24), (4, 2, 6), (2, 1, 6, 4), (8, 6)]))
                if math.prod(shape) == math.prod(new):
                    shapes[b.op("Reshape", x, np.array([-1, *new]))] = new
            case "transpose":
                order = data.draw(st.permutations(range(1, len(shape) + 1)))
                shapes[b.op("Transpose", x, perm=[0, *order])] = tuple(shape[axis - 1] for axis in order)
            case "ones":
                axis = data.draw(st.integers(1, len(shape) + 1))
                shapes[b.op("Unsqueeze", x, np.array([axis]))] = (*shape[: axis - 1], 1, *shape[axis - 1 :])
            case "mean":
                axis = data.draw(st.integers(1, len(shape)))
                if len(shape) > 1:
                    rest = (*shape[: axis - 1], *shape[axis:])
                    shapes[b.op("ReduceMean", x, np.array([axis]), keepdims=0)] = rest
            case "product":
                y = b.op("MatMul", b.op("Reshape", x, np.array([-1, shape[-1]])), b.normal(shape[-1], 2))
                shapes[b.op("Reshape", y, np.array([-1, *shape[:-1], 2]))] = (*shape[:-1], 2)
    made = [name for name in shapes if name != "x"]
    if not made:
        return
    model = b.model(*dict.fromkeys([made[-1], data.draw(st.sampled_from(made))]), layout=Layout.ND)
    fused, _ = _fused(model)
    assert fused.outputs == model.outputs
    assert len(fused.graph) <= len(model.graph)
