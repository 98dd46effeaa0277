"""The TFLite back end on a small network: what it writes, in which order and under which names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from edgekit.backends.base import CompileRequest, load_backend
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.errors import InvalidInputError, UnsupportedOpError
from edgekit.core.plain import from_json, to_json
from edgekit.core.types import Artifact, Layout, Precision, Preprocess, QuantPlan, TensorSpec
from edgekit.devices.bench import measure
from edgekit.formats.tflite import flatbuffer
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model, set_layout
from edgekit.ir.run import run

Array = np.ndarray[Any, Any]
Compile = Callable[..., Artifact]

FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)
DYNAMIC = QuantPlan(Precision.DYNAMIC)
LABELS = ("cat", "dog", "emu", "fox", "gnu")


@pytest.fixture(scope="module")
def model() -> Model:
    """Convolution, depthwise, residual, a dense head with softmax, and a second output that sorts before the first."""
    rng = np.random.default_rng(0)
    weights = {
        "stem.weight": rng.normal(size=(8, 3, 3, 3), scale=0.3),
        "stem.bias": rng.normal(size=8),
        "depth.weight": rng.normal(size=(8, 1, 3, 3), scale=0.3),
        "head.weight": rng.normal(size=(8 * 8 * 8, 5), scale=0.1),
        "head.bias": rng.normal(size=5),
    }
    nodes = [
        make_node("Conv", ["image", "stem.weight", "stem.bias"], ["c"], "stem", pads=[1] * 4, strides=[2, 2]),
        make_node("Relu", ["c"], ["r"], "stem/relu"),
        make_node("Conv", ["r", "depth.weight"], ["d"], "/depth:0", pads=[1] * 4, group=8),
        make_node("Add", ["d", "r"], ["features"], "residual"),
        make_node("Flatten", ["features"], ["f"], "flatten"),
        make_node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], "head"),
        make_node("Softmax", ["logits"], ["z_scores"], "probabilities"),
    ]
    graph = make_graph(
        nodes,
        "small",
        [make_tensor_value_info("image", onnx.TensorProto.FLOAT, [BATCH, 3, 16, 16])],
        [make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("z_scores", "features")],
        [from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=IR_VERSION)
    built = Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True)))
    set_layout(built.graph.inputs[0], Layout.NCHW)
    return built


@pytest.fixture(scope="module")
def model_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def samples() -> Array:
    return np.random.default_rng(1).uniform(-1, 1, (64, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def calibration(samples: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "calibration.npz"
    np.savez(path, image=samples)
    return path


@pytest.fixture(scope="module")
def compiled(model_file: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile with a plan; the float file is made once."""
    backend = TFLiteBackend()

    def build(plan: QuantPlan, **changes: Any) -> Artifact:
        request = CompileRequest(
            model=model_file,
            plan=plan,
            baseline=None if plan == FP32 else float_file,
            calibration=calibration,
            workdir=tmp_path_factory.mktemp("artifact"),
        )
        return backend.compile(replace(request, **changes))

    float_file = build(FP32)
    return build


def answers(artifact: Artifact, image: Array) -> dict[str, Array]:
    runner = _interpreter(artifact).get_signature_runner()
    parts = [runner(image=sample[None].transpose(0, 2, 3, 1)) for sample in image]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ops(artifact: Artifact) -> list[str]:
    return flatbuffer.op_names(flatbuffer.read(artifact.path.read_bytes()))


def _interpreter(artifact: Artifact) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(artifact.path), num_threads=1)


def test_is_found_by_its_entry_point() -> None:
    assert isinstance(load_backend("tflite"), TFLiteBackend)


def test_float_file_equals_the_model(compiled: Compile, model: Model, samples: Array) -> None:
    wanted, found = run(model, {"image": samples[:4]}), answers(compiled(FP32), samples[:4])
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


def test_ends_have_the_models_names_and_order_and_their_own_layout(compiled: Compile) -> None:
    from ai_edge_litert.interpreter import Interpreter

    artifact = compiled(FP32)
    assert artifact.inputs == (TensorSpec("image", (1, 16, 16, 3), "float32", Layout.NHWC),)
    assert [spec.name for spec in artifact.outputs] == ["z_scores", "features"]
    details = Interpreter(str(artifact.path)).get_output_details()
    assert [tuple(detail["shape"]) for detail in details] == [spec.shape for spec in artifact.outputs]


def test_nothing_is_transposed_but_an_output_that_the_model_wants_as_it_is(compiled: Compile) -> None:
    assert ops(compiled(FP32)).count("TRANSPOSE") == 1


def test_an_output_known_as_an_image_is_not_transposed(compiled: Compile, model: Model, tmp_path: Path) -> None:
    changed = model.clone()
    set_layout(changed.graph.inputs[0], Layout.NCHW)
    set_layout(changed.graph.outputs[1], Layout.NCHW)
    changed.save(tmp_path / "model.onnx")
    artifact = compiled(FP32, model=tmp_path / "model.onnx")
    assert "TRANSPOSE" not in ops(artifact)
    assert artifact.outputs[1] == TensorSpec("features", (1, 8, 8, 8), "float32", Layout.NHWC)


def test_tensors_are_named_after_layers(compiled: Compile) -> None:
    subgraph = flatbuffer.read(compiled(FP32).path.read_bytes()).subgraphs[0]
    names = [tensor.name.decode() for tensor in subgraph.tensors]
    for layer in ("stem", "stem/relu", "depth_0", "residual", "head", "probabilities"):
        assert any(part.startswith(f"{layer}/") for name in names for part in name.split(";")), layer


def test_batch_is_fixed_to_what_was_asked(compiled: Compile) -> None:
    assert compiled(FP32, batch=4).inputs[0].shape == (4, 16, 16, 3)


def test_labels_and_preprocessing_travel_in_the_file(compiled: Compile) -> None:
    artifact = compiled(FP32, labels=LABELS, preprocess=Preprocess(normalize="-1..1"))
    file = flatbuffer.read(artifact.path.read_bytes())
    assert flatbuffer.text_metadata(file, "edgekit.labels") == "\n".join(LABELS)
    preprocess = json.loads(flatbuffer.text_metadata(file, "edgekit.preprocess") or "")
    assert preprocess == to_json(Preprocess(normalize="-1..1"))


@pytest.mark.parametrize(("plan", "oldest"), [(FP32, "2.7"), (FP16, "2.7"), (INT8, "2.14")])
def test_oldest_runtime_goes_by_what_the_file_holds(plan: QuantPlan, oldest: str, compiled: Compile) -> None:
    artifact = compiled(plan)
    assert artifact.min_runtime == f"tflite-runtime {oldest}"
    assert flatbuffer.text_metadata(flatbuffer.read(artifact.path.read_bytes()), "min_runtime_version") == f"{oldest}.0"


def test_constants_are_aligned(compiled: Compile) -> None:
    from ai_edge_litert import schema_py_generated as schema

    for plan in (FP32, INT8):
        content = compiled(plan).path.read_bytes()
        file = schema.Model.GetRootAs(content)
        for index in range(file.BuffersLength()):
            buffer = file.Buffers(index)
            if buffer is not None and buffer.DataLength():
                start = np.frombuffer(content, np.uint8).ctypes.data
                assert (buffer.DataAsNumpy().ctypes.data - start) % 16 == 0


@pytest.mark.parametrize("plan", [FP16, INT8, DYNAMIC], ids=["fp16", "int8", "dynamic"])
def test_quantized_file_is_smaller_and_still_right(
    plan: QuantPlan, compiled: Compile, model: Model, samples: Array
) -> None:
    artifact = compiled(plan)
    assert artifact.size < compiled(FP32).size
    assert artifact.inputs == compiled(FP32).inputs
    wanted, found = run(model, {"image": samples[:16]}), answers(artifact, samples[:16])
    for name, value in wanted.items():
        noise = found[name] - value
        assert 10 * np.log10((value**2).sum() / (noise**2).sum()) > (60 if plan == FP16 else 25), name


def test_last_softmax_stays_float(compiled: Compile) -> None:
    file = flatbuffer.read(compiled(INT8).path.read_bytes())
    softmax = file.subgraphs[0].operators[flatbuffer.op_names(file).index("SOFTMAX")]
    assert {file.subgraphs[0].tensors[index].type for index in (*softmax.inputs, *softmax.outputs)} == {0}


def test_dynamic_int8_takes_no_samples_and_leaves_depthwise_convolutions_in_float(compiled: Compile) -> None:
    artifact = compiled(DYNAMIC, calibration=None)
    assert dict(artifact.plan.layers) == {
        "stem": Precision.DYNAMIC, "/depth:0": Precision.FP32, "head": Precision.DYNAMIC
    }  # fmt: skip
    (measurement,), _ = measure(artifact.path, timing=False)
    assert TFLiteBackend().prove(artifact.plan, measurement.account).violations == ()
    assert dict(measurement.account.weights) == {"int8": 8 * 27 + 8 * 64 * 5, "float32": 4 * 8 * 9}
    assert measurement.account.islands == 0
    assert artifact.min_runtime == "ai-edge-litert 1.0"


@pytest.mark.parametrize(("io", "code"), [("int8", 9), ("uint8", 3)])
def test_ends_can_be_integers(io: str, code: int, compiled: Compile) -> None:
    artifact = compiled(INT8, io=io)
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {io}
    subgraph = flatbuffer.read(artifact.path.read_bytes()).subgraphs[0]
    assert {subgraph.tensors[index].type for index in (*subgraph.inputs, *subgraph.outputs)} == {code}


@pytest.mark.parametrize(
    ("layer", "precision"), [("stem", Precision.FP32), ("/depth:0", Precision.FP16), ("head", Precision.FP16)]
)
def test_a_layer_of_the_plan_stays_float(layer: str, precision: Precision, compiled: Compile) -> None:
    from edgekit.devices.bench import measure

    artifact = compiled(QuantPlan(Precision.INT8, ((layer, precision),)))
    subgraph = (file := flatbuffer.read(artifact.path.read_bytes())).subgraphs[0]
    kernels = {
        name: subgraph.tensors[operator.inputs[1]].type
        for name, operator in zip(flatbuffer.op_names(file), subgraph.operators, strict=True)
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    }
    ours = {"stem": "CONV_2D", "/depth:0": "DEPTHWISE_CONV_2D", "head": "FULLY_CONNECTED"}[layer]
    assert {name for name, kind in kernels.items() if kind == 0} == {ours}
    (measurement, *_), _ = measure(artifact.path, timing=False)
    for other in (Precision.FP32, Precision.FP16, Precision.INT8):
        layers = tuple((name, other if name == layer else given) for name, given in artifact.plan.layers)
        plan = replace(artifact.plan, layers=layers)
        assert (TFLiteBackend().prove(plan, measurement.account).violations == ()) == (other is precision)


_COMPILE = """
import json, sys
from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.plain import from_json
artifact = TFLiteBackend().compile(from_json(CompileRequest, json.load(sys.stdin)))
print(artifact.digest, "tensorflow" in sys.modules)
"""


def compile_in_a_process(request: CompileRequest, hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONWARNINGS": "ignore"}
    finished = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        input=json.dumps(to_json(request)),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.split()


@pytest.mark.parametrize("plan", [FP32, FP16, INT8, DYNAMIC], ids=["fp32", "fp16", "int8", "dynamic"])
def test_two_processes_give_the_same_bytes(
    plan: QuantPlan, compiled: Compile, model_file: Path, calibration: Path, tmp_path: Path
) -> None:
    """And a quantized file is made without TensorFlow."""
    here = compiled(plan)
    request = CompileRequest(
        model=model_file,
        plan=plan,
        baseline=None if plan == FP32 else compiled(FP32),
        calibration=calibration,
        workdir=tmp_path,
    )
    digest, tensorflow = compile_in_a_process(request, "1")
    assert digest == here.digest
    assert tensorflow == str(plan == FP32)


def test_unsupported_ops_are_named_before_any_work(compiled: Compile, tmp_path: Path) -> None:
    graph = make_graph(
        [make_node("LpPool", ["x"], ["y"], "pool", kernel_shape=[2, 2])],
        "pool",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 4, 4])],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3, 3, 3])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=IR_VERSION), path)
    ((layer, op, remedy),) = TFLiteBackend().unsupported(path)
    assert (layer, op) == ("pool", "LpPool")
    assert remedy
    with pytest.raises(UnsupportedOpError, match=r"LpPool \(layer 'pool'\)"):
        compiled(FP32, model=path)


def test_a_fixed_batch_is_not_turned_into_another(compiled: Compile, model: Model, tmp_path: Path) -> None:
    fixed = model.clone()
    shape = fixed.graph.inputs[0].shape
    assert shape is not None
    fixed.graph.inputs[0].shape = ir.Shape([2, *shape[1:]])
    fixed.save(tmp_path / "model.onnx")
    with pytest.raises(InvalidInputError, match="no batch of 4"):
        compiled(FP32, model=tmp_path / "model.onnx", batch=4)


@pytest.mark.parametrize(
    "arrays",
    [{"x": np.zeros((4, 3, 16, 16))}, {"image": np.zeros((4, 16, 16, 3))}, {"image": np.zeros((0, 3, 16, 16))}],
    ids=["name", "shape", "none"],
)
def test_calibration_that_does_not_fit_is_refused(arrays: dict[str, Any], compiled: Compile, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})
    with pytest.raises(InvalidInputError, match="for input 'image', which takes"):
        compiled(INT8, calibration=tmp_path / "wrong.npz")


def test_calibration_with_nan_is_refused(compiled: Compile, samples: Array, tmp_path: Path) -> None:
    broken = samples.copy()
    broken[3] = np.nan
    np.savez(tmp_path / "nan.npz", image=broken)
    with pytest.raises(InvalidInputError, match="infinite or undefined"):
        compiled(INT8, calibration=tmp_path / "nan.npz")


def test_artifact_survives_json(compiled: Compile) -> None:
    artifact = compiled(FP32)
    assert from_json(Artifact, json.loads(json.dumps(to_json(artifact)))) == artifact


def test_example_runs_as_it_is(compiled: Compile) -> None:
    artifact = compiled(FP32)
    program = artifact.path.with_name("example.py")
    program.write_text(TFLiteBackend().example(artifact))
    finished = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "z_scores (1, 5)" in finished.stdout


def test_the_runtimes_account_of_real_files_holds_and_of_swapped_ones_does_not(compiled: Compile) -> None:
    for plan in (FP32, FP16, INT8):
        (measurement, *_), _ = measure(compiled(plan).path, timing=False)
        for promised in (FP32, FP16, INT8):
            assert (TFLiteBackend().prove(promised, measurement.account).violations == ()) == (promised == plan)
