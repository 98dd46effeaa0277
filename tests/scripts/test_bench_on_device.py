"""The bench script: readable to a board's Python, right answers and accounts, fair ratios, one clear line an error."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "bench_on_device.py"
RUNTIMES = {"ai_edge_litert", "tflite_runtime", "tensorflow", "openvino", "onnxruntime"}

# Makes a float and an integer .tflite of one network, in the one TensorFlow process of this module.
_MAKE_TFLITE = """
import sys
import time
from pathlib import Path
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
kernel = tf.constant(rng.normal(size=(3, 3, 3, 8)).astype("float32") * 0.3)
dense = tf.constant(rng.normal(size=(8 * 8 * 8, 4)).astype("float32") * 0.1)

@tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], name="image"), tf.TensorSpec([1, 4], name="bias")])
def network(image, bias):
    features = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
    return {"logits": tf.reshape(features, [1, 512]) @ dense + bias}

module = tf.Module()
module.network = network
samples = np.load(sys.argv[1])
for kind in ("float", "int8"):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], module)
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {name: samples[name][i : i + 1] for name in ("image", "bias")} for i in range(20)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(sys.argv[2], kind + ".tflite").write_bytes(converter.convert())
"""


def bench(
    *arguments: object, env: dict[str, str] | None = None
) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Run the script with --json; the document, and how the process ended."""
    process = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments), "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )
    return json.loads(process.stdout), process


def save_npz(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def save_onnx(path: Path, nodes: list[onnx.NodeProto], shape: list[int], weights: dict[str, Array]) -> Path:
    """Write a network from "x" to "y"."""
    graph = make_graph(
        nodes,
        "network",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def dense(folder: Path) -> Path:
    """The logarithm of x, for two samples at a time: NaN where x is negative."""
    nodes = [make_node("MatMul", ["x", "w"], ["m"], "product"), make_node("Log", ["m"], ["y"], "log")]
    return save_onnx(folder / "dense.onnx", nodes, [2, 3], {"w": np.eye(3)})


def convolution(path: Path, channels: int) -> Path:
    weight = np.random.default_rng(0).normal(size=(channels, channels, 3, 3))
    nodes = [make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)]
    return save_onnx(path, nodes, [1, channels, 32, 32], {"w": weight})


@pytest.fixture(scope="module")
def images(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(20, 8, 8, 3)).astype(np.float32)
    return save_npz(folder / "images.npz", image=image, bias=rng.normal(size=(20, 4)).astype(np.float32))


@pytest.fixture(scope="module")
def tflite(folder: Path, images: Path) -> Path:
    """The folder of float.tflite and int8.tflite."""
    (folder / "make.py").write_text(_MAKE_TFLITE)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(folder / "make.py"), str(images), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder


def test_a_board_with_python_3_8_can_read_it_and_needs_numpy_and_one_runtime() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    named = {name for node in imports for name in _modules(node)}
    assert named - {"numpy"} <= set(sys.stdlib_module_names)
    # Annotations of built-in generics are read as text there; a call or a base class would be evaluated.
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in imports)


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [name.partition(".")[0] for name in names]


def test_importing_it_loads_no_runtime_and_says_nothing() -> None:
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import bench_on_device; print(sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stderr == ""
    assert not RUNTIMES & set(ast.literal_eval(told.stdout))


def test_the_document_of_a_plain_run(dense: Path) -> None:
    document, process = bench(dense, "--runs", 3, "--repeats", 2, "--warmup", 1)
    assert process.returncode == 0, process.stderr
    assert (document["schema_version"], document["kind"], document["batch"]) == (2, "measured", 2)
    assert (document["runtime"]["name"], document["runtime"]["threads"]) == ("onnxruntime", 1)
    assert document["runtime"]["affinity"] == sorted(os.sched_getaffinity(0))
    assert (document["valid"], document["invalid"]) == (True, [])
    assert document["device"]["machine"] == os.uname().machine
    assert document["device"]["memory_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(document["device"]["clock"] - time.time()) < 60
    assert set(document["state"]["before"]) == {"governor", "frequency", "temperature", "throttling", "load"}
    assert (document["outputs"], document["golden"]) == (None, [])
    (artifact,) = document["artifacts"]
    assert artifact["digest"] == hashlib.sha256(dense.read_bytes()).hexdigest()
    assert artifact["bytes"] == dense.stat().st_size
    assert artifact["inputs"] == [{"name": "x", "shape": [2, 3], "dtype": "float32"}]
    assert artifact["outputs"] == [{"name": "y", "shape": [2, 3], "dtype": "float32"}]
    assert artifact["ratio"] is None
    timing = artifact["timing"]
    assert timing["runs"] == len(timing["samples_ms"]) == len(timing["samples_cpu_ms"]) == 6
    assert timing["min_ms"] <= timing["p50_ms"] <= timing["p90_ms"] <= timing["p99_ms"]
    assert timing["cpu_ms"] > 0
    assert artifact["peak_bytes"] > 0
    assert artifact["delegate"] == {"asked": None, "applied": {}, "nodes": 2}
    assert {"op": "MatMul", "precision": "float32", "count": 1, "delegated": 0} in artifact["account"]["compute"]


def test_a_last_short_batch_is_padded_and_its_padding_left_out(dense: Path, folder: Path) -> None:
    x = np.random.default_rng(0).uniform(1, 2, size=(5, 3)).astype(np.float32)
    inputs, outputs = save_npz(folder / "five.npz", x=x), folder / "answers" / "five.npz"
    document, _ = bench(dense, "--inputs", inputs, "--outputs", outputs, "--no-timing")
    assert document["outputs"]["n"] == 5
    assert document["artifacts"][0]["timing"] is None
    np.testing.assert_allclose(np.load(outputs)["y"], np.log(x), rtol=1e-6)
    again, _ = bench(dense, "--inputs", inputs, "--no-timing")
    assert again["outputs"] == document["outputs"]


def test_integer_inputs_and_outputs_are_fed_and_read_in_float(tflite: Path, images: Path) -> None:
    """Both artifacts answer the golden samples; the inputs go by the names of the model's signature."""
    document, process = bench(
        tflite / "float.tflite", "--against", tflite / "int8.tflite", "--golden", images, "--no-timing",
        "--golden-outputs", tflite / "golden",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert document["runtime"]["name"] == "ai_edge_litert"
    assert [[i["dtype"] for i in artifact["inputs"]] for artifact in document["artifacts"]] == [
        ["float32", "float32"],
        ["int8", "int8"],
    ]
    real, integer = (np.load(tflite / "golden" / f"{index}.npz") for index in (0, 1))
    (name,) = real.files
    assert real[name].shape == integer[integer.files[0]].shape == (20, 4)
    error = real[name] - integer[integer.files[0]]
    assert 10 * np.log10(np.sum(real[name] ** 2) / np.sum(error**2)) > 25


def test_tflite_tells_stored_and_computed_types_and_what_its_delegate_took(tflite: Path) -> None:
    document, _ = bench(tflite / "int8.tflite", "--against", tflite / "float.tflite", "--no-timing")
    integer, real = (artifact["account"] for artifact in document["artifacts"])
    weights = 3 * 3 * 3 * 8 + 512 * 4
    assert integer["weights"] == {"int8": weights}
    assert real["weights"] == {"float32": 4 * weights}
    (convolution,) = [entry for entry in integer["compute"] if entry["op"] == "CONV_2D"]
    assert convolution == {"op": "CONV_2D", "precision": "int8", "count": 1, "delegated": 1}
    assert {entry["precision"] for entry in real["compute"] if entry["op"] == "CONV_2D"} == {"float32"}


def test_arrays_under_other_names_are_taken_in_order(tflite: Path, images: Path) -> None:
    data = np.load(images)
    renamed = save_npz(tflite / "renamed.npz", first=data["bias"], second=data["image"])  # the file's own order
    named, _ = bench(tflite / "float.tflite", "--inputs", images, "--no-timing")
    ordered, process = bench(tflite / "float.tflite", "--inputs", renamed, "--no-timing")
    assert process.returncode == 0, process.stderr
    assert ordered["outputs"] == named["outputs"]


def test_a_model_beside_itself_has_the_ratio_one_and_beside_a_larger_one_less(folder: Path) -> None:
    small, large = convolution(folder / "small.onnx", 16), convolution(folder / "large.onnx", 48)
    document, _ = bench(small, "--against", small, "--against", large, "--runs", 60)
    itself, larger = (artifact["ratio"] for artifact in document["artifacts"][1:])
    assert itself["cpu"] == pytest.approx(1, abs=0.15)
    assert larger["cpu"] < 0.6
    assert larger["wall_min"] < 0.6


def test_timing_ends_when_its_time_is_up(folder: Path) -> None:
    model = convolution(folder / "slow.onnx", 64)
    document, _ = bench(model, "--runs", 100000, "--max-seconds", 0.3)
    assert 3 <= document["artifacts"][0]["timing"]["runs"] < 100000


def test_progress_is_one_parseable_line_a_percent_on_stderr(dense: Path) -> None:
    _, process = bench(dense, "--runs", 200, "--repeats", 1, "--progress")
    lines = [line.split(" ", 2) for line in process.stderr.splitlines() if line.startswith("progress ")]
    assert [text for _, _, text in lines] == ["timing"] * len(lines)
    fractions = [float(fraction) for _, fraction, _ in lines]
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1
    assert len(fractions) <= 101


def test_people_get_a_table(dense: Path) -> None:
    told = subprocess.run(
        [sys.executable, str(SCRIPT), str(dense), "--runs", "2"], check=True, capture_output=True, text=True
    )
    assert "p50" in told.stdout
    assert "onnxruntime" in told.stdout
    assert "{" not in told.stdout


def test_openvino_takes_options_and_an_unknown_one_is_refused(folder: Path) -> None:
    model = convolution(folder / "options.onnx", 16)
    document, _ = bench(f"{model}?INFERENCE_PRECISION_HINT=f32", "--runtime", "openvino", "--no-timing")
    assert document["artifacts"][0]["options"] == {"INFERENCE_PRECISION_HINT": "f32"}
    computed = {e["op"]: e["precision"] for e in document["artifacts"][0]["account"]["compute"]}
    assert computed["Convolution"] == "float32"
    document, process = bench(f"{model}?SPEED=warp", "--runtime", "openvino", "--no-timing")
    assert (process.returncode, document["error"]["error"]) == (2, "UsageError")


def test_onnxruntime_runs_a_quantized_network_as_it_is_written(tmp_path: Path) -> None:
    """Left alone it puts integer kernels in its place, which cut sums off on CPUs without VNNI."""
    model = quantized_product(tmp_path / "qdq.onnx")
    as_written, process = bench(f"{model}?session.disable_quant_qdq=1", "--no-timing")
    assert process.returncode == 0, process.stderr
    left_alone, _ = bench(model, "--no-timing")
    ran = [{e["op"] for e in d["artifacts"][0]["account"]["compute"]} for d in (as_written, left_alone)]
    assert {"DequantizeLinear", "QuantizeLinear"} <= ran[0]
    assert not {"QLinearMatMul", "MatMulIntegerToFloat"} & ran[0]
    assert {"QLinearMatMul", "MatMulIntegerToFloat"} & ran[1]
    document, process = bench(f"{model}?session.other=1", "--no-timing")
    assert (process.returncode, document["error"]["error"]) == (2, "UsageError")


def quantized_product(path: Path) -> Path:
    """X · W, both by way of int8."""
    integers = {"z": np.array(0, np.int8), "w": np.ones((8, 4), np.int8)}
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        make_node("MatMul", ["d", "v"], ["y"]),
    ]
    graph = make_graph(
        nodes,
        "product",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [from_array(np.array(0.1, np.float32), "s"), *(from_array(value, name) for name, value in integers.items())],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_question_mark_in_a_path_is_no_option(dense: Path, tmp_path: Path) -> None:
    odd = tmp_path / "what?a=b.onnx"
    odd.write_bytes(dense.read_bytes())
    _, process = bench(odd, "--no-timing")
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="module")
def cell(folder: Path) -> Path:
    """The step h' = h / 2 + x, y = 3 h', two sequences at a time."""
    return save_cell(folder / "cell.onnx", [2, 3], [2, 3])


def save_cell(path: Path, x: list[int], h: list[int]) -> Path:
    nodes = [
        make_node("Mul", ["h", "half"], ["kept"]),
        make_node("Add", ["kept", "x"], ["h_out"]),
        make_node("Mul", ["h_out", "three"], ["y"]),
    ]
    graph = make_graph(
        nodes,
        "cell",
        [make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("h", h), ("x", x))],
        [make_tensor_value_info(name, onnx.TensorProto.FLOAT, h) for name in ("y", "h_out")],
        [from_array(np.array(0.5, np.float32), "half"), from_array(np.array(3, np.float32), "three")],
    )
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10), path)
    return path


def run_cell(x: Array, h: Array | float) -> Array:
    """The states of the cell over sequences (n, steps, …)."""
    states = []
    for step in range(x.shape[1]):
        h = h / 2 + x[:, step]
        states.append(h)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_state_goes_from_step_to_step_and_starts_anew_with_each_sequence(
    cell: Path, folder: Path, runtime: str
) -> None:
    x = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)  # the last batch is short
    # The one array that is not a state goes by its order, too.
    inputs, outputs = save_npz(folder / "sequences.npz", features=x), folder / f"{runtime}.npz"
    state = ["--state", "h=h_out", "--runtime", runtime]
    document, process = bench(cell, "--inputs", inputs, "--outputs", outputs, *state, "--runs", 2)
    assert process.returncode == 0, process.stderr
    assert (document["outputs"]["n"], document["batch"]) == (5, 2)
    assert document["artifacts"][0]["timing"]["runs"] == 10
    answers = np.load(outputs)
    np.testing.assert_allclose(answers["h_out"], run_cell(x, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers["y"], 3 * run_cell(x, 0), rtol=1e-5, atol=1e-6)


def test_an_array_of_the_states_name_says_what_the_sequences_start_from(cell: Path, folder: Path) -> None:
    rng = np.random.default_rng(1)
    x, h = rng.normal(size=(3, 4, 3)).astype(np.float32), rng.normal(size=(3, 3)).astype(np.float32)
    inputs = save_npz(folder / "started.npz", x=x, h=h)
    arguments = ["--golden", inputs, "--golden-outputs", folder / "started", "--state", "h=h_out", "--no-timing"]
    _, process = bench(cell, "--against", cell, *arguments)
    assert process.returncode == 0, process.stderr
    for index in (0, 1):
        found = np.load(folder / "started" / f"{index}.npz")["h_out"]
        np.testing.assert_allclose(found, run_cell(x, h), rtol=1e-5, atol=1e-6)


def test_a_state_with_its_layers_in_front_is_fed_whole(folder: Path) -> None:
    """The state of two layers beside a batch of one, as PyTorch has it; it comes first, and is no batch of two."""
    layered = save_cell(folder / "layered.onnx", [1, 1, 3], [2, 1, 3])
    rng = np.random.default_rng(2)
    x, h = rng.normal(size=(3, 4, 1, 3)).astype(np.float32), rng.normal(size=(3, 2, 1, 3)).astype(np.float32)
    inputs = save_npz(folder / "layers.npz", x=x, h=h)
    arguments = ["--inputs", inputs, "--outputs", folder / "layered.npz", "--state", "h=h_out", "--no-timing"]
    document, process = bench(layered, *arguments)
    assert process.returncode == 0, process.stderr
    assert document["batch"] == 1
    np.testing.assert_allclose(
        np.load(folder / "layered.npz")["h_out"], run_cell(x[:, :, None], h), rtol=1e-5, atol=1e-6
    )


def _failing_sequences(case: str, cell: Path, folder: Path) -> list[object]:
    x, h = np.ones((4, 5, 3), np.float32), np.ones((4, 3), np.float32)
    nan = x.copy()
    nan[2, 3] = np.nan
    arrays: dict[str, dict[str, Array]] = {
        "no step axis": {"x": x[:, 0]},
        "no steps": {"x": x[:, :0]},
        "a state for every step": {"x": x, "h": x},
        "fewer states": {"x": x, "h": h[:3]},
        "an answer that is NaN": {"x": nan},
    }
    inputs = save_npz(folder / "refused.npz", **arrays.get(case, {"x": x}))
    states = {"no such output": ["h=g"], "no pair": ["h"], "every input": ["h=h_out", "x=y"]}.get(case, ["h=h_out"])
    return [cell, "--inputs", inputs, *(part for state in states for part in ("--state", state))]


@pytest.mark.parametrize(
    ("case", "code", "told"),
    [
        ("no step axis", 9, "the artifact takes (N, steps, 3)"),
        ("no steps", 9, "input 'x' has shape (4, 0, 3)"),
        ("a state for every step", 9, "input 'h' has shape (4, 5, 3)"),
        ("fewer states", 9, "differ in their number of samples"),
        ("an answer that is NaN", 11, "of sample 2"),
        ("no such output", 2, "the artifact has the inputs h, x and the outputs y, h_out"),
        ("no pair", 2, "--state h is no pair"),
        ("every input", 2, "every input is a state"),
    ],
)
def test_each_failure_with_sequences_is_told(case: str, code: int, told: str, cell: Path, folder: Path) -> None:
    document, process = bench(*_failing_sequences(case, cell, folder), "--no-timing")
    assert process.returncode == code, process.stderr
    assert told in document["error"]["cause"]
    assert "Traceback" not in process.stderr


def _failing(case: str, dense: Path, folder: Path) -> list[object]:
    x = np.ones((4, 3), np.float32)
    bad = x.copy()
    bad[3] = -1
    corrupt = folder / "corrupt.onnx"
    corrupt.write_bytes(dense.read_bytes()[:50])
    no_npz = folder / "text.npz"
    no_npz.write_text("hello")
    cases: dict[str, list[object]] = {
        "no such file": [folder / "nowhere.onnx"],
        "another digest": [dense, "--digest", "0" * 64],
        "corrupt": [corrupt],
        "no runtime known": [no_npz],
        "options nobody takes": [f"{dense}?FAST=yes"],
        "no such inputs": [dense, "--inputs", folder / "nowhere.npz"],
        "inputs that are no npz": [dense, "--inputs", no_npz],
        "wrong shape": [dense, "--inputs", save_npz(folder / "wide.npz", x=np.ones((4, 7), np.float32))],
        "no samples": [dense, "--inputs", save_npz(folder / "none.npz", x=x[:0])],
        "two arrays for one input": [dense, "--inputs", save_npz(folder / "two.npz", a=x, b=x)],
        "an answer that is NaN": [dense, "--inputs", save_npz(folder / "bad.npz", x=bad)],
    }
    return cases[case]


@pytest.mark.parametrize(
    ("case", "code", "told"),
    [
        ("no such file", 9, "there is no file"),
        ("another digest", 8, "its digest differs"),
        ("corrupt", 9, "can't load"),
        ("no runtime known", 9, "no runtime is known"),
        ("options nobody takes", 2, "takes no options (FAST)"),
        ("no such inputs", 9, "there is no file"),
        ("inputs that are no npz", 9, "can't be read"),
        ("wrong shape", 9, "the artifact takes (N, 3)"),
        ("no samples", 9, "input 'x' has shape (0, 3)"),
        ("two arrays for one input", 9, "has a, b, the artifact takes x"),
        ("an answer that is NaN", 11, "output 'y' of sample 3"),
    ],
)
def test_each_failure_is_one_line_a_document_and_a_code(
    case: str, code: int, told: str, dense: Path, folder: Path
) -> None:
    document, process = bench(*_failing(case, dense, folder), "--no-timing")
    assert process.returncode == code
    assert told in document["error"]["cause"]
    assert document["error"]["remedy"]
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert told in line
    assert "Traceback" not in process.stderr


def test_a_device_without_the_runtime_is_told_what_to_install(dense: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('built for another numpy')")
    document, process = bench(dense, env={"PYTHONPATH": str(tmp_path)})
    assert process.returncode == 10
    assert document["error"]["remedy"] == f"Run: {sys.executable} -m pip install onnxruntime"
    assert (document["error"]["install"], document["error"]["python"]) == ("onnxruntime", sys.executable)
    assert "built for another numpy" in document["error"]["cause"]
