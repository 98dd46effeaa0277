"""Proofs of precision: a lie about storage or compute is found, whoever tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from edgekit.backends.openvino import OpenVINOBackend
from edgekit.core.evidence import Account, Product
from edgekit.core.types import Precision, QuantPlan
from edgekit.devices.bench import measure
from tests.backends.accounts import account

FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)
HONEST = (("INFERENCE_PRECISION_HINT", "f32"),)


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


def test_a_plan_is_held_to_the_layers_that_it_names() -> None:
    """Not to how many there are: a kernel is known by its layer, or by the parts that the layer has become."""
    weights = (("int8", 90), ("float32", 40))
    ran = {"a/WithoutBiases": "float32", "b": "uint8", "c": "uint8"}
    products = tuple(Product((f"{name}", "relu"), "Convolution", precision) for name, precision in ran.items())
    told = Account(storage=weights, compute=(), weights=weights, products=products)

    def violations(**layers: Precision) -> tuple[str, ...]:
        return OpenVINOBackend().prove(QuantPlan(Precision.INT8, tuple(layers.items())), told).violations

    assert violations(a=Precision.FP32, b=Precision.INT8) == ()
    assert violations(b=Precision.FP32) == ("a/WithoutBiases ran in float32", "b ran in uint8")
    assert violations(a=Precision.FP32, c=Precision.FP32) == ("c ran in uint8",)


def test_products_in_one_kernel_are_held_to_the_precisions_of_their_layers() -> None:
    """OpenVINO compiles several products into one Subgraph, which bears all their names."""
    together = ("first", "second")
    plan = QuantPlan(Precision.INT8, (("first", Precision.FP32), ("second", Precision.INT8)))

    def violations(*precisions: str) -> tuple[str, ...]:
        products = tuple(Product(together, "MatMul", precision) for precision in precisions)
        return OpenVINOBackend().prove(plan, Account((), (), (("int8", 1),), products)).violations

    assert violations("int8", "float32") == ()
    assert violations("float32", "float32")


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
    assert "y_original ran in float32" in OpenVINOBackend().prove(INT8, unsigned).violations


def has_bfloat16() -> bool:
    return bool({"avx512_bf16", "amx_bf16"} & set(Path("/proc/cpuinfo").read_text().split()))


@pytest.mark.skipif(not has_bfloat16(), reason="not on this machine: only a CPU with bfloat16 can be caught using it")
@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp"])
def test_openvino_left_to_itself_is_caught_computing_in_bfloat16(name: str) -> None:
    """The MLP runs as one fused kernel, whose account takes another way."""
    model = Path(__file__).parents[2] / "models" / name / f"{name}.onnx"
    assert OpenVINOBackend().prove(FP32, account_of(model, HONEST)).violations == ()
    assert OpenVINOBackend().prove(FP32, account_of(model, ())).violations
