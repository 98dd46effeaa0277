"""Proofs of precision: a lie about storage or compute is found, whoever tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from edgekit.backends.openvino import OpenVINOBackend
from edgekit.core.types import Account, OpAccount, Precision, QuantPlan
from edgekit.devices.bench import measure

FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)
HONEST = (("INFERENCE_PRECISION_HINT", "f32"),)


def account(weights: dict[str, int], *compute: tuple[str, str, int]) -> Account:
    return Account(
        storage=tuple(weights.items()),
        compute=tuple(OpAccount(op, precision, count) for op, precision, count in compute),
        weights=tuple(weights.items()),
    )


HONEST_INT8 = account(
    {"int8": 100}, ("Convolution", "uint8", 2), ("FullyConnected", "int8", 1), ("Softmax", "float32", 1)
)
HONEST_FP32 = account({"float32": 400}, ("Convolution", "float32", 2), ("Reorder", "float32", 2))
HONEST_FP16 = account({"float16": 200}, ("Convolution", "float32", 2))
EMBEDDING_FP16 = account({"float16": 200}, ("Gather", "float16", 1), ("FullyConnected", "float32", 1))


@pytest.mark.parametrize(
    ("plan", "told"), [(INT8, HONEST_INT8), (FP32, HONEST_FP32), (FP16, HONEST_FP16), (FP16, EMBEDDING_FP16)]
)
def test_what_is_as_promised_holds(plan: QuantPlan, told: Account) -> None:
    assert OpenVINOBackend().prove(plan, told).violations == ()


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        pytest.param(INT8, HONEST_FP32, id="a float model called int8"),
        pytest.param(INT8, account({"int8": 100}, ("Convolution", "float32", 2)), id="stored as int8, run in float"),
        pytest.param(INT8, account({"float32": 400}, ("Convolution", "int8", 2)), id="run in int8, stored in float"),
        pytest.param(INT8, account({"int8": 90, "float32": 40}, ("Convolution", "int8", 2)), id="one layer forgotten"),
        pytest.param(INT8, account({}, ("Softmax", "float32", 1)), id="nothing to quantize"),
        pytest.param(
            INT8,
            account({"int8": 100}, ("Convolution", "int8", 2), ("Subgraph", "bfloat16", 1)),
            id="int8 with bfloat16 in between",
        ),
        pytest.param(FP32, account({"float32": 400}, ("Convolution", "bfloat16", 2)), id="bfloat16 called fp32"),
        pytest.param(FP32, account({"float32": 400}, ("Softmax", "bfloat16", 1)), id="one op in bfloat16"),
        pytest.param(FP32, account({"float32": 400}, ("Gather", "float16", 1)), id="a table in fp16 called fp32"),
        pytest.param(FP32, HONEST_FP16, id="fp16 weights called fp32"),
        pytest.param(FP16, HONEST_FP32, id="fp32 weights called fp16"),
        pytest.param(
            FP16, account({"float16": 200}, ("Convolution", "float16", 2)), id="fp16 arithmetic nobody asked for"
        ),
    ],
)
def test_a_lie_is_found(plan: QuantPlan, told: Account) -> None:
    assert OpenVINOBackend().prove(plan, told).violations


def test_a_plan_may_except_as_many_layers_as_it_names_and_no_more() -> None:
    told = account({"int8": 90, "float32": 40}, ("Convolution", "uint8", 3), ("Convolution", "float32", 2))
    one = QuantPlan(Precision.INT8, (("a", Precision.FP32),))
    two = QuantPlan(Precision.INT8, (("a", Precision.FP32), ("b", Precision.FP32)))
    assert OpenVINOBackend().prove(one, told).violations == ("2 Convolution ran in float32",)
    assert OpenVINOBackend().prove(two, told).violations == ()


def qdq_convolution(path: Path, kind: type[np.int8 | np.uint8]) -> Path:
    """A convolution between QuantizeLinear and DequantizeLinear, its weights stored as `kind`."""
    zero = 128 if kind is np.uint8 else 0
    stored = np.random.default_rng(0).integers(-100, 100, (16, 8, 3, 3)) + zero
    constants = {
        "weight": stored.astype(kind),
        "weight_scale": np.float32(0.01),
        "weight_zero": np.array(zero, kind),
        "scale": np.float32(0.02),
        "zero": np.array(0, np.uint8),
    }
    nodes = [
        make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize"),
        make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantize"),
        make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], "weights"),
        make_node("Conv", ["d", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
    ]
    graph = make_graph(
        nodes,
        "qdq",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8, 16, 16])],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 16, 16, 16])],
        [from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10), path)
    return path


def account_of(path: Path, options: tuple[tuple[str, str], ...]) -> Account:
    (measurement,), _ = measure(path, options=options, runtime="openvino", timing=False)
    return measurement.account


def test_signed_weights_run_in_int8_and_unsigned_ones_are_caught_running_in_float(tmp_path: Path) -> None:
    signed = account_of(qdq_convolution(tmp_path / "signed.onnx", np.int8), HONEST)
    assert OpenVINOBackend().prove(INT8, signed).violations == ()
    unsigned = account_of(qdq_convolution(tmp_path / "unsigned.onnx", np.uint8), HONEST)
    assert "1 Convolution ran in float32" in OpenVINOBackend().prove(INT8, unsigned).violations


def has_bfloat16() -> bool:
    return bool({"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text().split()))


@pytest.mark.skipif(not has_bfloat16(), reason="not on this machine: only a CPU with bfloat16 can be caught using it")
@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp"])
def test_openvino_left_to_itself_is_caught_computing_in_bfloat16(name: str) -> None:
    """The MLP runs as one fused kernel, whose account takes another way."""
    model = Path(__file__).parents[2] / "models" / name / f"{name}.onnx"
    assert OpenVINOBackend().prove(FP32, account_of(model, HONEST)).violations == ()
    assert OpenVINOBackend().prove(FP32, account_of(model, ())).violations
