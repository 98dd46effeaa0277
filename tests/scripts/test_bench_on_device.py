"""The bench script: readable to a board's Python, right answers and accounts, fair ratios, one clear line an error."""

from __future__ import annotations

import ast
import hashlib
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

from tests.scripts.files import convolution, save_npz, save_onnx
from tests.scripts.script import SCRIPT, bench

Array = np.ndarray[Any, Any]

RUNTIMES = {"ai_edge_litert", "tflite_runtime", "tensorflow", "openvino", "onnxruntime"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def dense(folder: Path) -> Path:
    """The logarithm of x, for two samples at a time: NaN where x is negative."""
    nodes = [make_node("MatMul", ["x", "w"], ["m"], "product"), make_node("Log", ["m"], ["y"], "log")]
    return save_onnx(folder / "dense.onnx", nodes, [2, 3], {"w": np.eye(3)})


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


def test_the_cpus_that_it_may_use_are_those_that_were_named(dense: Path) -> None:
    first = min(os.sched_getaffinity(0))
    document, process = bench(dense, "--affinity", first, "--no-timing")
    assert process.returncode == 0, process.stderr
    assert document["runtime"]["affinity"] == [first]
    document, process = bench(dense, "--affinity", f"{first},4000-4002", "--no-timing")
    assert (process.returncode, document["error"]["error"]) == (2, "UsageError")
    assert "4000" not in document["error"]["cause"]  # what there is


def test_golden_answers_have_a_digest_of_their_own(dense: Path, folder: Path) -> None:
    golden = save_npz(folder / "golden.npz", x=np.full((4, 3), 2.0, np.float32))
    arguments = ["--golden", golden, "--golden-outputs", folder / "golden", "--no-timing"]
    document, _ = bench(dense, "--against", dense, *arguments)
    for index, told in enumerate(document["golden"]):
        (answers,) = np.load(folder / "golden" / f"{index}.npz").values()
        assert told == {"n": 4, "digest": hashlib.sha256(answers.tobytes()).hexdigest()}
    assert len(document["golden"]) == 2


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
