"""The normal form of an ONNX graph: names, shapes, a batch that nothing names, BatchNorm as one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run, run_bytes
from edgekit.passes.normalise import normalise

Shapes = Mapping[str, Sequence[int | str]]


def model(
    nodes: Sequence[onnx.NodeProto], inputs: Shapes, outputs: Sequence[str], weights: Mapping[str, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def same_answers(source: onnx.ModelProto, normal: Model) -> bool:
    feeds = probe(normal, seed=7, samples=3)
    return max_relative(run(normal, feeds), run_bytes(source.SerializeToString(), feeds, batch=1)) < 1e-5


def test_a_batch_merged_into_another_axis_and_split_again_is_freed() -> None:
    """The way of a dense layer over time: (1, 5, 4) → (5, 4) → (5, 2) → (1, 5, 2)."""
    weights = {"flat": [5, 4], "w": np.ones((4, 2), np.float32), "back": [1, 5, 2]}
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["dense"]),
        helper.make_node("Reshape", ["dense", "back"], ["y"]),
    ]
    source = model(nodes, {"x": [1, 5, 4]}, ["y"], weights)
    normal = normalise(source)
    assert normal.inputs[0].shape == (None, 5, 4)
    shapes = [node.inputs[1].const_value.numpy().tolist() for node in normal.graph if node.op_type == "Reshape"]  # type: ignore[union-attr]
    assert shapes == [[-1, 4], [-1, 5, 2]]
    assert str(normal.graph[0].outputs[0].shape[0]) == "5*batch"  # type: ignore[index]
    assert same_answers(source, normal)


def test_heads_of_attention_that_merge_with_the_batch_leave_it_free() -> None:
    """PyTorch's attention with its steps in front: (5, n, 8) → (5, 2n, 4), by head, → (5n, 8) → (5, n, 8)."""
    weights = {
        "heads": [5, -1, 4],
        "flat": [-1, 8],
        "w": np.random.default_rng(0).standard_normal((8, 8), np.float32),
        "back": [5, -1, 8],
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["steps", "heads"], ["h"]),
        helper.make_node("Transpose", ["h"], ["queries"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["h"], ["keys"], perm=[1, 2, 0]),
        helper.make_node("MatMul", ["queries", "keys"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "queries"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["by_step"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["by_step", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "w"], ["projected"]),
        helper.make_node("Reshape", ["projected", "back"], ["again"]),
        helper.make_node("Transpose", ["again"], ["y"], perm=[1, 0, 2]),
    ]
    source = model(nodes, {"x": ["n", 5, 8]}, ["y"], weights)
    normal = normalise(source)
    assert normal.inputs[0].shape == (None, 5, 8)
    assert same_answers(source, normal)


def test_a_resize_to_sizes_does_not_name_the_batch() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["m"]),
        helper.make_node("Resize", ["m", "", "", "sizes"], ["y"], mode="nearest"),
    ]
    source = model(nodes, {"x": [1, 3, 4, 4]}, ["y"], {"w": np.float32(2), "sizes": [1, 3, 8, 8]})
    normal = normalise(source)
    assert normal.outputs[0].shape == (None, 3, 8, 8)
    assert same_answers(source, normal)


def test_batch_norm_between_reshapes_stands_alone() -> None:
    random = np.random.default_rng(0)
    statistics = {name: random.random(4, np.float32) + 0.5 for name in ("s", "b", "m", "v")}
    nodes = [
        helper.make_node("Reshape", ["x", "image"], ["r"]),
        helper.make_node("BatchNormalization", ["r", "s", "b", "m", "v"], ["n"], "norm"),
        helper.make_node("Reshape", ["n", "rows"], ["y"]),
    ]
    source = model(nodes, {"x": [1, 4]}, ["y"], {**statistics, "image": [-1, 4, 1, 1], "rows": [-1, 4]})
    normal = normalise(source)
    assert [(node.name, node.op_type) for node in normal.graph] == [("norm", "BatchNormalization")]
    assert [spec.name for spec in normal.outputs] == ["y"]
    assert same_answers(source, normal)


def test_constants_identities_dropouts_and_dead_nodes_go() -> None:
    constant = numpy_helper.from_array(np.full(4, 2, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["two"], value=constant),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Sqrt", ["w"], ["root"]),
        helper.make_node("Mul", ["root", "two"], ["scale"]),
        helper.make_node("Mul", ["same", "scale"], ["scaled"], "scale"),
        helper.make_node("Dropout", ["scaled"], ["kept"]),
        helper.make_node("Relu", ["kept"], ["unused"]),
        helper.make_node("Tanh", ["kept"], ["y"], "squash"),
    ]
    source = model(nodes, {"x": ["n", 4]}, ["y"], {"w": np.full(4, 9, np.float32)})
    normal = normalise(source)
    assert [node.name for node in normal.graph] == ["scale", "squash"]
    assert len(normal.graph.initializers) == 1
    assert same_answers(source, normal)


def test_names_are_kept_and_made_unique() -> None:
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"], "layer"),
        helper.make_node("Relu", ["a"], ["b"], "layer"),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    normal = normalise(model(nodes, {"x": [1, 4]}, ["y"], {"w": np.ones(4, np.float32)}))
    assert [node.name for node in normal.graph] == ["layer", "layer_1", "Tanh_2"]


@pytest.mark.parametrize("axis", [0, 1])
def test_what_mixes_samples_keeps_its_batch_of_one(axis: int) -> None:
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=axis),
    ]
    normal = normalise(model(nodes, {"x": [1, 4]}, ["y"], {"w": np.ones(4, np.float32)}))
    assert normal.inputs[0].shape == ((1, 4) if axis == 0 else (None, 4))


def test_a_recurrent_cell_has_its_batch_second_and_is_freed() -> None:
    """PyTorch's export: steps first, both directions side by side by a Reshape, zeros as the initial state."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(0, 0.3, (2, 15, 3)).astype(np.float32),
        "r": random.normal(0, 0.3, (2, 15, 5)).astype(np.float32),
        "zeros": np.zeros((2, 1, 5), np.float32),
        "pair": [4, 1, 10],
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "w", "r", "", "", "zeros"], ["g"], direction="bidirectional", hidden_size=5),
        helper.make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "pair"], ["p"]),
        helper.make_node("Transpose", ["p"], ["y"], perm=[1, 0, 2]),
    ]
    source = model(nodes, {"x": [1, 4, 3]}, ["y"], weights)
    normal = normalise(source)
    assert normal.inputs[0].shape == (None, 4, 3)
    assert "zeros" not in normal.graph.initializers
    assert same_answers(source, normal)


def test_a_reversal_of_whole_sequences_names_no_batch() -> None:
    nodes = [
        helper.make_node("ReverseSequence", ["x", "lengths"], ["r"], time_axis=1, batch_axis=0),
        helper.make_node("Mul", ["r", "w"], ["y"]),
    ]
    weights = {"lengths": [6], "w": np.arange(6, dtype=np.float32)[:, None]}
    source = model(nodes, {"x": [1, 6, 2]}, ["y"], weights)
    normal = normalise(source)
    assert [node.op_type for node in normal.graph] == ["Slice", "Mul"]
    assert normal.inputs[0].shape == (None, 6, 2)
    assert same_answers(source, normal)


def test_a_shape_that_an_exporter_computes_is_a_constant() -> None:
    """PyTorch's export of `token.expand(len(x), -1, -1)`: its -1 become sizes by ConstantOfShape, Equal and Where."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "keep"], ["wanted"], axis=0),
        helper.make_node("ConstantOfShape", ["three"], ["ones"], value=numpy_helper.from_array(np.array([1]))),
        helper.make_node("Mul", ["ones", "minus"], ["negative"]),
        helper.make_node("Equal", ["wanted", "negative"], ["open"]),
        helper.make_node("Where", ["open", "ones", "wanted"], ["shape"]),
        helper.make_node("Expand", ["token", "shape"], ["e"]),
        helper.make_node("Concat", ["e", "x"], ["y"], axis=1),
    ]
    weights = {"zero": [0], "keep": [-1, -1], "three": [3], "minus": -1, "token": np.ones((1, 1, 2), np.float32)}
    source = model(nodes, {"x": [1, 4, 2]}, ["y"], weights)
    normal = normalise(source)
    assert [node.op_type for node in normal.graph] == ["Concat"]
    assert same_answers(source, normal)


def test_a_value_that_is_two_outputs_stays_both() -> None:
    """A recurrent step gives its state as an answer, too; PyTorch's exporter writes an Identity between the two."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Tanh", ["m"], ["state"]),
        helper.make_node("Identity", ["state"], ["answer"]),
    ]
    for outputs in (["answer", "state"], ["state", "answer"]):
        source = model(nodes, {"x": [1, 4]}, outputs, {"w": np.ones((4, 4), np.float32)})
        normal = normalise(source)
        assert [spec.name for spec in normal.outputs] == outputs
        assert same_answers(source, normal)
