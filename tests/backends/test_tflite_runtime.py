"""Files for a device with tflite-runtime 2.14, in the real one: what it takes, what it answers, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite import TFLiteBackend
from edgekit.backends.tflite.runtimes import highest_versions
from edgekit.core.errors import InvalidInputError, UnsupportedOpError
from edgekit.core.resources import resource
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.formats.tflite import flatbuffer
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model

Array = np.ndarray[Any, Any]
RunIn = Callable[..., dict[str, Array]]

OLD = "tflite-runtime 2.14"
FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)
DYNAMIC = QuantPlan(Precision.DYNAMIC)


def file_of(op: str, op_version: int) -> bytes:
    """A file that names the operator and has none of it: a runtime looks it up before anything else."""
    from ai_edge_litert import schema_py_generated as schema

    code, tensor, subgraph, model = schema.OperatorCodeT(), schema.TensorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = getattr(schema.BuiltinOperator, op)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), op_version
    tensor.name, tensor.shape, tensor.buffer = "x", [1], 0
    subgraph.tensors, subgraph.inputs, subgraph.outputs, subgraph.operators = [tensor], [0], [0], []
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [subgraph], [code]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(params=["tflite-runtime", "ai-edge-litert"])
def installed(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A runtime by its name in the table, and the Python that has it."""
    if request.param == "tflite-runtime":
        return OLD, request.getfixturevalue("old_python")
    return f"ai-edge-litert {version('ai-edge-litert').rpartition('.')[0]}", Path(sys.executable)


def test_the_table_says_what_the_runtime_takes(installed: tuple[str, Path], tmp_path: Path) -> None:
    """Each operator's highest version opens and the next one doesn't; operators that are not listed don't at all."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    runtime, python = installed
    names = {name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)} - {"CUSTOM"}
    table = highest_versions(runtime)
    versions = {op: (table.get(op, 0), table.get(op, 0) + 1) for op in names}
    files = {f"{op}:{number}": file_of(op, number) for op, both in versions.items() for number in both if number}
    arrays: dict[str, Any] = {name: np.frombuffer(content, np.uint8) for name, content in files.items()}
    np.savez(tmp_path / "files.npz", **arrays)
    probe = Path(__file__).with_name("runtime_probe.py")
    command = [str(python), str(probe), str(tmp_path / "files.npz")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(json.loads(finished.stdout)) == {f"{op}:{highest}" for op, highest in table.items()}
    assert len(table) > 150


def saved(nodes: list[onnx.NodeProto], weights: dict[str, Array], size: tuple[int, ...], path: Path) -> Path:
    """A network from "x" of that sample size to "y", as a Model file."""
    graph = make_graph(
        nodes,
        "small",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, [BATCH, *size])],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [from_array(array, name) for name, array in weights.items()],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=IR_VERSION)
    Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))).save(path)
    return path


def compile_all(model: Path, samples: Path, folder: Path, runtime: str = OLD) -> dict[QuantPlan, Artifact]:
    """The artifact of each precision, for a target that names `runtime`."""
    request = CompileRequest(model, FP32, None, None, folder, options=(("runtime", runtime),) if runtime else ())
    made: dict[QuantPlan, Artifact] = {}
    for plan in (FP32, FP16, INT8):
        (folder / plan.default).mkdir(parents=True)
        changed = replace(request, plan=plan, baseline=made.get(FP32), workdir=folder / plan.default)
        made[plan] = TFLiteBackend().compile(replace(changed, calibration=samples if plan == INT8 else None))
    return made


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[QuantPlan, Artifact], Path]:
    """digits-cnn in each precision, and its 450 held-out images."""
    folder = tmp_path_factory.mktemp("digits")
    for name in ("train", "eval"):
        with np.load(resource(f"models/digits-cnn/{name}.npz")) as data:
            np.savez(folder / f"{name}.npz", image=data["x"].astype(np.float32))
    model = resource("models/digits-cnn/digits-cnn.onnx")
    return compile_all(model, folder / "train.npz", folder), folder / "eval.npz"


@pytest.mark.parametrize("plan", [FP32, FP16, INT8], ids=["fp32", "fp16", "int8"])
def test_digits_have_the_same_answers_as_in_ai_edge_litert(
    plan: QuantPlan, digits: tuple[dict[QuantPlan, Artifact], Path], old_python: Path, run_in: RunIn
) -> None:
    """In int8 the old one has no XNNPACK: without it the new one rounds as it does, but for depthwise convolutions."""
    artifacts, samples = digits
    (old,) = run_in(old_python, "tflite_runtime", artifacts[plan].path, samples).values()
    (new,) = run_in(Path(sys.executable), "ai_edge_litert", artifacts[plan].path, samples).values()
    assert (old.argmax(-1) != new.argmax(-1)).sum() <= (plan == INT8)
    if plan == INT8:
        (new,) = run_in(Path(sys.executable), "ai_edge_litert", artifacts[plan].path, samples, "none").values()
    np.testing.assert_allclose(old, new, atol=0.02 if plan == INT8 else 1e-5)


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network with a root and a division, which ai-edge-quantizer makes int8 and 2.14 only has in float; samples."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("normalised")
    nodes = [
        make_node("MatMul", ["x", "w"], ["m"], "dense"),
        make_node("Sigmoid", ["m"], ["s"], "sigmoid"),
        make_node("Sqrt", ["s"], ["r"], "root"),
        make_node("Add", ["s", "one"], ["t"], "plus"),
        make_node("Div", ["r", "t"], ["d"], "ratio"),
        make_node("MatMul", ["d", "v"], ["y"], "head"),
    ]
    weights = {"w": rng.normal(size=(12, 16)), "v": rng.normal(size=(16, 4)), "one": np.ones(1)}
    model = saved(nodes, {name: array.astype(np.float32) for name, array in weights.items()}, (12,), folder / "m.onnx")
    np.savez(folder / "x.npz", x=rng.normal(size=(64, 12)).astype(np.float32))
    return model, folder / "x.npz"


def test_what_the_runtime_has_in_float_alone_stays_float(
    normalised: tuple[Path, Path], old_python: Path, run_in: RunIn, tmp_path: Path
) -> None:
    model, samples = normalised
    made = compile_all(model, samples, tmp_path)
    assert [artifact.min_runtime for artifact in made.values()] == ["tflite-runtime 2.7", "tflite-runtime 2.7", OLD]
    old = run_in(old_python, "tflite_runtime", made[INT8].path, samples)["y"]
    new = run_in(Path(sys.executable), "ai_edge_litert", made[INT8].path, samples)["y"]
    wanted = run_in(old_python, "tflite_runtime", made[FP32].path, samples)["y"]
    step = np.ptp(wanted) / 255
    np.testing.assert_allclose(old, new, atol=2 * step)
    np.testing.assert_allclose(old, wanted, atol=10 * step)


def test_a_sum_that_is_always_zero_does_not_end_the_runtime(old_python: Path, run_in: RunIn, tmp_path: Path) -> None:
    """What Elu takes off its exponential, where no sample is negative."""
    nodes = [
        make_node("Elu", ["x"], ["e"], "elu", alpha=0.5),
        make_node("MatMul", ["e", "w"], ["y"], "head"),
    ]
    rng = np.random.default_rng(0)
    model = saved(nodes, {"w": rng.normal(size=(12, 4)).astype(np.float32)}, (12,), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=rng.uniform(0, 1, (64, 12)).astype(np.float32))
    made = compile_all(model, tmp_path / "x.npz", tmp_path)
    given, wanted = (
        run_in(old_python, "tflite_runtime", made[plan].path, tmp_path / "x.npz")["y"] for plan in (INT8, FP32)
    )
    np.testing.assert_allclose(given, wanted, atol=0.02 * np.ptp(wanted))


def test_dynamic_int8_is_refused_where_the_runtime_would_answer_zeros(
    normalised: tuple[Path, Path], old_python: Path, run_in: RunIn, tmp_path: Path
) -> None:
    """A dense layer with a scale for each channel; and what it takes, it answers as the newest does."""
    (tmp_path / "dense").mkdir()
    (tmp_path / "conv").mkdir()
    model, samples = normalised
    made = compile_all(model, samples, tmp_path / "all", runtime="")
    request = CompileRequest(model, DYNAMIC, made[FP32], None, tmp_path / "dense", options=(("runtime", OLD),))
    with pytest.raises(UnsupportedOpError, match=r"layer dense: .* FULLY_CONNECTED, .* it in dynamic int8"):
        TFLiteBackend().compile(request)
    for python, runtime, right in (
        (old_python, "tflite_runtime", False),
        (Path(sys.executable), "ai_edge_litert", True),
    ):
        artifact = TFLiteBackend().compile(replace(request, options=()))
        wanted = run_in(python, runtime, made[FP32].path, samples)["y"]
        given = run_in(python, runtime, artifact.path, samples)["y"]
        assert np.allclose(given, wanted, atol=0.05 * np.ptp(wanted)) == right

    rng = np.random.default_rng(0)
    nodes = [make_node("Conv", ["x", "w"], ["y"], "conv")]
    model = saved(nodes, {"w": rng.normal(size=(8, 4, 3, 3)).astype(np.float32)}, (4, 8, 8), tmp_path / "conv.onnx")
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(1, 4, 8, 8)).astype(np.float32))
    request = replace(request, model=model, plan=FP32, baseline=None, workdir=tmp_path / "conv")
    baseline = TFLiteBackend().compile(request)
    artifact = TFLiteBackend().compile(replace(request, plan=DYNAMIC, baseline=baseline, workdir=tmp_path / "dense"))
    assert artifact.min_runtime == OLD
    old = run_in(old_python, "tflite_runtime", artifact.path, tmp_path / "x.npz")["y"]
    new = run_in(Path(sys.executable), "ai_edge_litert", artifact.path, tmp_path / "x.npz")["y"]
    np.testing.assert_allclose(old, new, atol=0.01 * np.ptp(new))


def test_a_target_that_names_no_runtime_gets_what_the_newest_takes(
    normalised: tuple[Path, Path], old_python: Path, run_in: RunIn, tmp_path: Path
) -> None:
    """And the artifact says which that is: the old one refuses it."""
    model, samples = normalised
    artifact = compile_all(model, samples, tmp_path, runtime="")[INT8]
    assert artifact.min_runtime == "ai-edge-litert 2.2"
    assert flatbuffer.text_metadata(flatbuffer.read(artifact.path.read_bytes()), "min_runtime_version") is None
    with pytest.raises(AssertionError, match=r"INT8 is unsupported by op Sqrt"):
        run_in(old_python, "tflite_runtime", artifact.path, samples)


def test_an_operator_that_is_newer_than_the_runtime_is_named(tmp_path: Path) -> None:
    weights = {"w": np.ones((4, 2, 3, 3), np.float32)}
    nodes = [make_node("Conv", ["x", "w"], ["y"], "grouped", group=2)]
    model = saved(nodes, weights, (4, 8, 8), tmp_path / "m.onnx")
    request = CompileRequest(model, FP32, None, None, tmp_path, options=(("runtime", "tflite-runtime 2.8"),))
    with pytest.raises(
        UnsupportedOpError, match=r"layer grouped: .* CONV_2D, .* version 6 of it \(only up to 5\)"
    ) as error:
        TFLiteBackend().compile(request)
    assert 'runtime = "tflite-runtime 2.9"' in error.value.remedy


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("runtime", "tflite-runtime 2.14.0"), r"did you mean 'tflite-runtime 2\.14'"),
        (("runtimes", OLD), "no option 'runtimes'"),
    ],
)
def test_options_that_mean_nothing_are_refused(option: tuple[str, str], message: str, tmp_path: Path) -> None:
    request = CompileRequest(tmp_path / "m.onnx", FP32, None, None, tmp_path, options=(option,))
    with pytest.raises(InvalidInputError, match=message):
        TFLiteBackend().compile(request)
