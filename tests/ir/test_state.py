"""State: pairs that are declared must fit, and what is state but not declared is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.core.errors import InvalidInputError
from edgekit.ir.state import likely_states
from edgekit.passes.normalise import normalise

Stream = Callable[..., onnx.ModelProto]


def graph(
    nodes: Sequence[tuple[str, str, str]],
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """A network of nodes written as (operator, "inputs", "outputs")."""
    made = helper.make_graph(
        [helper.make_node(op, takes.split(), gives.split()) for op, takes, gives in nodes],
        "small",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def likely(proto: onnx.ModelProto) -> list[str]:
    return [f"{source}={target}" for source, target in likely_states(normalise(proto, states="none"))]


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("lstm", ["h=h_out", "c=c_out"]),
        ("gru", ["h=h_out"]),
        ("LSTM", ["h0=hn", "c0=cn"]),
        ("GRU", ["h0=hn"]),
    ],
)
def test_recurrent_cells_are_found_whatever_they_are_made_of_and_called(
    stream: Stream, kind: str, pairs: list[str]
) -> None:
    proto = stream(kind)
    assert likely(proto) == pairs
    names = {pair.partition("=")[0]: f"in_{i}" for i, pair in enumerate(pairs)}
    names |= {pair.partition("=")[2]: f"out_{i}" for i, pair in enumerate(pairs)}
    assert likely(renamed(proto, names)) == [f"{names[a]}={names[b]}" for a, b in (pair.split("=") for pair in pairs)]


def renamed(proto: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names.get(value.name, value.name)
    return proto


def test_layers_that_share_a_state_tensor_are_followed_through_their_slices(stream: Stream) -> None:
    with pytest.raises(InvalidInputError, match="'h0' → 'hn', 'c0' → 'cn'") as caught:
        normalise(stream("LSTM", layers=2))
    assert "--state h0=hn --state c0=cn " in caught.value.remedy
    normal = normalise(stream("LSTM", layers=2), states={"h0": "hn", "c0": "cn"})
    assert [spec.shape for spec in normal.inputs] == [(1, 1, 6), (2, 1, 16), (2, 1, 16)]


def test_a_gated_unit_that_is_written_as_a_step_towards_the_new_value_is_found() -> None:
    """PyTorch's own GRU computes h' = n + z ⊙ (h − n)."""
    nodes = [
        ("Concat", "x m", "both"), ("MatMul", "both w", "s"), ("Sigmoid", "s", "z"), ("Tanh", "s", "n"),
        ("Sub", "m n", "d"), ("Mul", "z d", "zd"), ("Add", "zd n", "k"),
    ]  # fmt: skip
    proto = graph(nodes, {"x": [1, 2], "m": [1, 3]}, ["k"], {"w": np.ones((5, 3))})
    proto.graph.node[0].attribute.append(helper.make_attribute("axis", 1))
    assert likely(proto) == ["m=k"]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("h0", "hn", True), ("c_0", "c_n", True), ("state_in", "state_out", True), ("hidden", "hidden_out", True),
        ("past_key_values.0.key", "present.0.key", True), ("decoderState", "nextDecoderState", True),
        ("lstm_1_h_in", "lstm_1_h_out", True), ("encoder_state:0", "new_encoder_state:0", True),
        ("h0_in", "h0_out", True), ("h1", "h2_out", False), ("image_in", "image_out", False), ("x", "y", False),
        ("hidden_states", "last_hidden_state", False), ("h0", "cn", False), ("h", "height", False),
        ("depth_prev", "depth", False), ("states", "estimates", False),
    ],
)  # fmt: skip
def test_names_tell_only_where_they_are_those_of_a_state(before: str, after: str, found: bool) -> None:
    nodes = [("MatMul", "feed v", "a"), ("MatMul", f"{before} w", "b"), ("Add", "a b", after)]
    proto = graph(nodes, {"feed": [1, 2], before: [1, 3]}, [after], {"v": np.ones((2, 3)), "w": np.ones((3, 3))})
    assert (likely(proto) == [f"{before}={after}"]) is found


_SQUARE = {"w": np.ones((3, 3)), "v": np.ones((3, 3))}


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs"),
    [
        # An auto-encoder, and one that takes a condition.
        ([("MatMul", "h w", "b"), ("Relu", "b", "h_out")], {"h": [1, 3]}, ["h_out"]),
        ([("MatMul", "x w", "a"), ("Add", "a t", "b"), ("MatMul", "b v", "y")], {"x": [1, 3], "t": [1, 3]}, ["y"]),
        # A refiner that adds to its input, by as much as a gate says.
        (
            [("MatMul", "t w", "a"), ("Sigmoid", "a", "g"), ("Mul", "g a", "b"), ("Add", "x b", "y")],
            {"x": [1, 3], "t": [1, 3]},
            ["y"],
        ),
        # A mask over a spectrum.
        ([("MatMul", "t w", "a"), ("Sigmoid", "a", "g"), ("Mul", "x g", "y")], {"x": [1, 3], "t": [1, 3]}, ["y"]),
        # Two images, blended.
        (
            [
                ("Add", "p q", "s"), ("MatMul", "s w", "a"), ("Sigmoid", "a", "g"), ("Mul", "p g", "l"),
                ("Sub", "s g", "e"), ("Sigmoid", "e", "k"), ("Mul", "q k", "r"), ("Add", "l r", "y"),
            ],
            {"p": [1, 3], "q": [1, 3]},
            ["y"],
        ),
    ],
    ids=["auto-encoder", "conditioned", "refiner", "mask", "blend"],
)  # fmt: skip
def test_an_output_in_the_shape_of_an_input_is_not_yet_state(
    nodes: list[tuple[str, str, str]], inputs: dict[str, list[int]], outputs: list[str]
) -> None:
    proto = graph(nodes, inputs, outputs, _SQUARE)
    assert likely(proto) == []


def test_an_initial_state_whose_final_state_is_not_given_out_is_an_input(stream: Stream) -> None:
    proto = stream("LSTM")
    del proto.graph.output[1:]
    assert likely(proto) == []


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"h": "h_out"}, "'c' → 'c_out'"),
        ({"g": "h_out", "c": "c_out"}, "no input 'g', only 'x', 'h', 'c'"),
        ({"h": "h_new", "c": "c_out"}, "no output 'h_new', only 'y', 'h_out', 'c_out'"),
        ({"h": "y", "c": "c_out"}, "the input is batch×16 float32, the output batch×3 float32"),
        ({"x": "y", "h": "h_out", "c": "c_out"}, "the input is batch×6 float32"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(stream: Stream, states: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        normalise(stream("lstm"), states=states)
    assert "--state " in caught.value.remedy


def test_something_must_be_left_to_feed() -> None:
    proto = graph([("MatMul", "x w", "y")], {"x": [1, 3]}, ["y"], _SQUARE)
    with pytest.raises(InvalidInputError, match="nothing is left to feed"):
        normalise(proto, states={"x": "y"})


def test_the_flags_to_paste_have_what_was_declared_already(stream: Stream) -> None:
    with pytest.raises(InvalidInputError) as caught:
        normalise(stream("lstm"), states={"c": "c_out"})
    assert "--state c=c_out --state h=h_out" in caught.value.remedy
