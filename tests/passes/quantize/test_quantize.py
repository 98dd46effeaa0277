"""Rounding taken out of a network and put in again: what is lost, what is recorded, and what comes back exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgekit.core.errors import UnsupportedOpError
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model
from edgekit.ir.quantization import QuantParams, quant_params, recorded_params, set_quant_params
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.quantize import Dequantize, float_ends, insert_qdq
from edgekit.passes.quantize.weights import is_stored_whole, weight_scale
from tests.passes.fuse.conftest import GraphBuilder

Array = np.ndarray[Any, Any]
Ends = Mapping[str, tuple[int, list[Any]]]
FLOAT, INT8, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8


def graph(nodes: list[onnx.NodeProto], inputs: Ends, outputs: Ends, constants: Mapping[str, Array]) -> Model:
    """A Model as the normal form leaves it: nodes named, values typed."""
    for place, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{place}"
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(proto)
    return Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True)))


def quantized(*, activation: Any = np.int8, whole: bool = False, ends: bool = False) -> Model:
    """Conv, a range that cuts off below zero, Transpose, MatMul and Add, rounded after each of the last three."""
    random = np.random.default_rng(0)
    shift = 128 if activation is np.uint8 else 0
    kind = UINT8 if activation is np.uint8 else INT8
    scale = np.float32(0.02) if whole else random.uniform(0.01, 0.03, 4).astype(np.float32)
    integers = random.integers(-126, 127, (4, 3, 3, 3)).astype(np.int8)
    integers[:, 0, 0, 0] = 127
    constants: dict[str, Array] = {
        "w": integers,
        "w.scale": np.asarray(scale),
        "w.zero": np.zeros(np.shape(scale), np.int8),
        "b": random.integers(-500, 500, 4).astype(np.int32),
        "b.scale": np.asarray(scale * np.float32(0.05)),
        "m": np.where(np.eye(4, 5) > 0, 127, random.integers(-127, 128, (4, 5))).astype(np.int8),
        "m.scale": np.asarray(0.01, np.float32),
        "c": random.standard_normal(5).astype(np.float32),
    }
    for name, step, zero in (("x", 0.05, 3), ("r", 0.04, -128), ("y", 0.1, -20)):
        constants[f"{name}.scale"] = np.asarray(step, np.float32)
        constants[f"{name}.zero"] = np.asarray(zero + shift, activation)
    attributes: dict[str, Any] = {} if whole else {"axis": 0}
    first = [helper.make_node("QuantizeLinear", ["x", "x.scale", "x.zero"], ["xq"])]
    last = [helper.make_node("DequantizeLinear", ["yq", "y.scale", "y.zero"], ["y"])]
    nodes = [
        *([] if ends else first),
        helper.make_node("DequantizeLinear", ["x" if ends else "xq", "x.scale", "x.zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w.scale", "w.zero"], ["wd"], **attributes),
        helper.make_node("DequantizeLinear", ["b", "b.scale"], ["bd"], **attributes),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["conv"], "conv"),
        helper.make_node("QuantizeLinear", ["conv", "r.scale", "r.zero"], ["rq"]),
        helper.make_node("Transpose", ["rq"], ["tq"], perm=[0, 2, 3, 1]),
        helper.make_node("DequantizeLinear", ["tq", "r.scale", "r.zero"], ["td"]),
        helper.make_node("DequantizeLinear", ["m", "m.scale"], ["md"]),
        helper.make_node("MatMul", ["td", "md"], ["product"], "dense"),
        helper.make_node("Add", ["product", "c"], ["sum"], "bias"),
        helper.make_node("QuantizeLinear", ["sum", "y.scale", "y.zero"], ["y" if ends else "yq"]),
        *([] if ends else last),
    ]
    end = kind if ends else FLOAT
    return graph(nodes, {"x": (end, [BATCH, 3, 6, 6])}, {"y": (end, [BATCH, 4, 4, 5])}, constants)


def floated(model: Model) -> Model:
    return apply(model, (Dequantize(),), seed=0)[0]


def kinds(model: Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_the_float_network_has_the_operators_and_what_the_ranges_cut_off() -> None:
    assert kinds(floated(quantized())) == ["Conv", "Relu", "Transpose", "MatMul", "Add"]


def test_weights_become_what_their_integers_stand_for() -> None:
    before, after = quantized(), floated(quantized())
    conv = next(node for node in after.graph if node.op_type == "Conv")
    held = {name: value.const_value.numpy() for name, value in before.graph.initializers.items() if value.const_value}
    weights, bias = (value.const_value.numpy() for value in conv.inputs[1:])  # type: ignore[union-attr]
    np.testing.assert_array_equal(weights, held["w"] * held["w.scale"].reshape(4, 1, 1, 1))
    np.testing.assert_array_equal(bias, held["b"].astype(np.float32) * held["b.scale"])


@pytest.mark.parametrize("activation", [np.int8, np.uint8])
def test_what_is_stored_is_recorded_as_int8(activation: Any) -> None:
    recorded = recorded_params(floated(quantized(activation=activation)))
    assert recorded["x"] == QuantParams(float(np.float32(0.05)), 3)
    assert recorded["y"] == QuantParams(float(np.float32(0.1)), -20)
    assert recorded["conv/Relu"] == recorded["tq"] == QuantParams(float(np.float32(0.04)), -128)
    assert "conv" not in recorded


@pytest.mark.parametrize("whole", [True, False])
def test_put_in_again_the_rounding_gives_the_very_answers(*, whole: bool) -> None:
    source = quantized(whole=whole)
    model = floated(source)
    again = insert_qdq(model, recorded_params(model))
    feeds = {"x": probe(source, 0, 16)["x"] * 4}
    wanted = run(source, feeds)["y"]
    params = recorded_params(model)["y"]
    # Outputs stay float: half a step is what the source rounds them by.
    assert np.abs(np.clip(run(again, feeds)["y"], params.low, params.high) - wanted).max() <= 0.5001 * params.scale
    for name, layer in (("w", "conv"), ("m", "dense")):
        stored, original = (
            graph.initializers[key].const_value.numpy()  # type: ignore[union-attr]
            for graph, key in ((again.graph, f"{layer}/weights/int8"), (source.graph, name))
        )
        np.testing.assert_array_equal(stored, original)


def test_a_layer_that_is_kept_sees_no_rounding() -> None:
    model = floated(quantized())
    kept = insert_qdq(model, recorded_params(model), keep={node.name or "" for node in model.graph})
    assert kinds(kept) == kinds(model)
    layers = insert_qdq(model, recorded_params(model), keep={"dense"})
    dense = next(node for node in layers.graph if node.name == "dense")
    assert dense.inputs[1] is not None
    assert dense.inputs[1].is_initializer()


def test_fusion_keeps_what_is_recorded() -> None:
    model = floated(quantized())
    fused, _ = apply(model, FUSION, seed=0, until_stable=True)
    assert max_relative(run(fused, probe(model, 0, 2)), run(model, probe(model, 0, 2))) < 1e-5
    before, after = recorded_params(model), recorded_params(fused)
    assert {params for name, params in before.items()} == {params for name, params in after.items()}
    assert after["y"] == before["y"]


def test_a_scale_that_is_folded_away_takes_its_record_along() -> None:
    b = GraphBuilder()
    model = b.model(b.op("Mul", b.op("Conv", "x", b.normal(4, 3, 3, 3)), b.positive(4, 1, 1)))
    conv, mul = model.graph
    set_quant_params(conv.outputs[0], QuantParams(0.5, 0))
    fused, _ = apply(model, FUSION, seed=0)
    assert [node.op_type for node in fused.graph] == ["Conv"]
    assert recorded_params(fused) == {}
    set_quant_params(mul.outputs[0], QuantParams(0.25, 1))
    fused, _ = apply(model, FUSION, seed=0)
    assert list(recorded_params(fused).values()) == [QuantParams(0.25, 1)]


@pytest.mark.parametrize("activation", [np.int8, np.uint8])
def test_integer_ends_become_float(activation: Any) -> None:
    stored, plain = quantized(activation=activation, ends=True), quantized(activation=activation)
    ends = float_ends(stored)
    assert ends == float_ends(quantized(activation=activation))
    assert ends["x"] == QuantParams(float(np.float32(0.05)), 3)
    assert (stored.inputs, stored.outputs) == (plain.inputs, plain.outputs)
    feeds = probe(plain, 0, 4)
    np.testing.assert_array_equal(run(stored, feeds)["y"], run(plain, feeds)["y"])


def test_an_integer_input_that_is_an_index_stays_one() -> None:
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"])]
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    model = graph(nodes, {"i": (onnx.TensorProto.INT32, [BATCH])}, {"y": (FLOAT, [BATCH, 2])}, {"table": table})
    assert float_ends(model) == {}
    assert model.inputs[0].dtype == "int32"


@pytest.mark.parametrize(
    ("scale", "zero", "attributes", "message"),
    [
        (np.full(4, 0.1, np.float32), np.zeros(4, np.int8), {"axis": 1}, "a scale for each channel"),
        (np.float32(0.1), np.int16(0), {}, "stores activations as int16"),
        (np.full((1, 2), 0.1, np.float32), np.zeros((1, 2), np.int8), {"axis": 1, "block_size": 2}, "each block"),
        (None, np.int8(0), {}, "computed from the input"),
    ],
)
def test_rounding_that_cant_be_followed(
    scale: Array | None, zero: Array, attributes: dict[str, Any], message: str
) -> None:
    nodes = [] if scale is not None else [helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0)]
    nodes += [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "round", **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
    ]
    constants: dict[str, Array] = {"z": np.asarray(zero), **({"s": np.asarray(scale)} if scale is not None else {})}
    model = graph(nodes, {"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 4])}, constants)
    with pytest.raises(UnsupportedOpError, match=rf"the layer 'round' \(QuantizeLinear\).*{message}"):
        floated(model)


@given(
    channels=st.integers(1, 8),
    whole=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-20, 10),
)
def test_weights_that_were_int8_are_the_same_integers_again(
    *, channels: int, whole: bool, seed: int, exponent: int
) -> None:
    random = np.random.default_rng(seed)
    integers = random.integers(-127, 128, (channels, 11))
    integers[:, 0] = random.choice([-127, 127], channels)
    steps = np.float32(2.0**exponent) * random.uniform(1, 2, 1 if whole else channels).astype(np.float32)
    weights = (integers.astype(np.float32) * steps[:, None]).astype(np.float32)
    scale = weight_scale(weights, 0)
    assert scale.shape == (() if whole or channels == 1 else (channels,))
    np.testing.assert_array_equal(np.rint(weights / scale.reshape(-1, 1)), integers)
    np.testing.assert_allclose(scale, steps if scale.ndim else steps[0], rtol=1e-6)


def test_weights_that_never_were_int8_get_a_scale_a_channel() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    weights[2] = 0
    assert not is_stored_whole(weights)
    scale = weight_scale(weights, 0)
    np.testing.assert_allclose(scale[[0, 1, 3]], np.abs(weights).max((1, 2, 3))[[0, 1, 3]] / 127, rtol=1e-6)
    assert scale[2] == 1


def test_what_is_recorded_reaches_whatever_is_only_rearranged() -> None:
    b = GraphBuilder((4, 2, 2))
    transposed = b.op("Transpose", "x", perm=[0, 2, 3, 1])
    flat = b.op("Flatten", b.op("Relu", transposed))
    model = b.model(flat)
    set_quant_params(model.graph.outputs[0], QuantParams(0.5, 7))
    assert recorded_params(model) == dict.fromkeys((flat, "relu_1"), QuantParams(0.5, 7))
    assert quant_params(model.graph.inputs[0]) is None
    set_quant_params(model.graph.inputs[0], QuantParams(0.25, 0))
    assert recorded_params(model)[transposed] == QuantParams(0.25, 0)
    assert QuantParams(0.25, 0).low == -32
    assert QuantParams(0.25, 0).high == 31.75
