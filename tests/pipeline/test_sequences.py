"""Streaming models, end to end: artifacts answer whole sequences with their own state, and golden vectors hold them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.core.errors import EdgekitError, InvalidInputError
from edgekit.ir.run import max_relative
from edgekit.pipeline.build import build

Array = np.ndarray[Any, Any]
Cli = Callable[..., tuple[int, str, str]]

_BOTH = ("raspberry-pi-4", "intel-cpu")
_LSTM, _GRU, _TORCH = {"h": "h_out", "c": "c_out"}, {"h": "h_out"}, {"h0": "hn", "c0": "cn"}
_SEQUENCES, _STEPS = 40, 12


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, stream: Callable[..., onnx.ModelProto]) -> Path:
    """The models, and sequences whose labels are what the LSTM cell answers."""
    home = tmp_path_factory.mktemp("sequences")
    for name, proto in (
        ("lstm", stream("lstm")),
        ("gru", stream("gru")),
        ("operators", stream("LSTM", layers=2)),
    ):
        onnx.save(proto, home / f"{name}.onnx")
    x = np.random.default_rng(1).normal(size=(_SEQUENCES, _STEPS, 6)).astype(np.float32)
    labels = _unrolled(home / "lstm.onnx", x, _LSTM)["y"].argmax(axis=-1)
    np.savez(home / "steps.npz", x=x, y=labels)
    np.savez(home / "ends.npz", x=x, y=labels[:, -1])
    np.savez(home / "plain.npz", x=x.reshape(-1, 6), y=labels.ravel())
    return home


def _unrolled(
    model: Path, x: Array, states: Mapping[str, str], initial: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """What ONNX Runtime answers to each sequence, step by step: (sequences, steps, …) an output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    shapes = {
        value.name: [size if isinstance(size, int) else 1 for size in value.shape] for value in session.get_inputs()
    }
    names = [value.name for value in session.get_outputs()]
    answers: dict[str, list[list[Array]]] = {name: [] for name in names}
    for index, sequence in enumerate(x):
        zeros = {name: np.zeros(shapes[name], np.float32) for name in states}
        state = {name: (initial or {}).get(name, {index: zeros[name]})[index].reshape(shapes[name]) for name in states}
        for rows in answers.values():
            rows.append([])
        for step in sequence:
            outputs = dict(zip(names, session.run(names, {"x": step.reshape(shapes["x"]), **state}), strict=True))
            state = {name: outputs[target] for name, target in states.items()}
            for name, value in outputs.items():
                # Without the batch in front; PyTorch's states have their layers there.
                answers[name][-1].append(value[0] if len(value) == 1 else value)
    return {name: np.array(rows) for name, rows in answers.items()}


def _build(
    home: Path, model: str, states: Any, out: str, targets: Sequence[str] = _BOTH, **sections: dict[str, Any]
) -> Any:
    flags = {
        "model": {"states": states},
        "data": {"data": str(home / "steps.npz"), "labels": model == "lstm"},
        **sections,
    }
    return build(str(home / f"{model}.onnx"), targets, flags=flags, out=home / out)


@pytest.mark.parametrize(
    ("model", "states", "targets"),
    [("lstm", _LSTM, _BOTH), ("gru", _GRU, _BOTH), ("operators", _TORCH, _BOTH)],
)
def test_a_float_artifact_answers_whole_sequences_as_the_model_does(
    home: Path, model: str, states: dict[str, str], targets: Sequence[str]
) -> None:
    report = _build(home, model, states, f"{model}-fp32", targets, precision={"precision": "fp32"})
    for target in report.targets:
        assert target.error is None
        assert target.metrics[0].drop in {0, None}
        with np.load(home / f"{model}-fp32" / target.target / "golden.npz") as golden:
            x = golden["input:x"]
            assert x.shape[:2] == (4, 8)
            assert all(not golden[f"input:{name}"].any() and len(golden[f"input:{name}"]) == 4 for name in states)
            expected = _unrolled(home / f"{model}.onnx", x, states)
            for kind in ("float", "output"):
                found = {name: golden[f"{kind}:{name}"] for name in expected}
                assert max_relative(found, expected) <= 1e-4


def test_an_int8_build_is_judged_on_every_step_and_its_folder_replays(home: Path, edgekit: Cli) -> None:
    """Through the command line, for both families of targets: build, validate, and the program beside the artifact."""
    arguments = ["--state", "h=h_out", "--state", "c=c_out", "--data", home / "steps.npz", "--precision", "int8"]
    targets = [part for target in _BOTH for part in ("-t", target)]
    out = home / "int8"
    code, stdout, stderr = edgekit(
        "build", home / "lstm.onnx", *arguments, *targets, "--max-drop", 15, "--out", out, "--json"
    )
    assert code in {0, 5}, stderr
    for target in json.loads(stdout)["targets"]:
        folder = out / target["target"]
        top1 = target["metrics"][0]
        # 24 of 40 sequences are for the report, and every step counts.
        assert (top1["name"], top1["n"], top1["float"]) == ("top1", 24 * _STEPS, 100)
        assert {metric["name"].partition(":")[2] for metric in target["metrics"]} == {""}  # the states are not judged
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["model"]["states"] == manifest["artifact"]["states"] == [list(pair) for pair in _LSTM.items()]
        assert manifest["recipe"]["model"]["states"] == _LSTM
        assert manifest["splits"]["report"] | {"n": 24, "steps": _STEPS} == manifest["splits"]["report"]
        code, stdout, stderr = edgekit(
            "validate", folder, "--data", home / "steps.npz", "--model", home / "lstm.onnx", "--max-drop", 15, "--json"
        )
        assert code == 0, stderr
        validation = json.loads(stdout)
        assert validation["golden_sqnr"] > 100
        assert validation["metrics"][0]["n"] == _SEQUENCES * _STEPS
        told = subprocess.run(
            [sys.executable, folder / "example.py"], check=True, capture_output=True, text=True
        ).stdout
        lines = [line for line in told.splitlines() if " c_out (1, 16)" in line]
        assert len(lines) == 5
        assert len({line.partition("(1, 16)")[2] for line in lines}) == 5  # the state moves on


def test_a_state_with_its_layers_in_front_is_calibrated_whole(home: Path) -> None:
    report = _build(home, "operators", _TORCH, "operators-int8", precision={"precision": "int8"})
    for target in report.targets:
        assert target.error is None
        assert {metric.name for metric in target.metrics} == {"sqnr", "sqnr_over_constant"}


def test_a_golden_answer_that_is_not_the_builds_is_found(home: Path, edgekit: Cli, tmp_path: Path) -> None:
    """Were the state not fed back, only the first step of each sequence would be right."""
    report = _build(home, "gru", _GRU, "replayed", ["intel-cpu"], precision={"precision": "fp32"})
    assert report.targets[0].error is None
    folder = home / "replayed" / "intel-cpu"
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["output:y"][:, 1:] = arrays["output:y"][:, :1]
    np.savez(folder / "golden.npz", **arrays)
    _sign_again(folder)
    code, _, stderr = edgekit("validate", folder)
    assert code == 11, stderr
    assert "golden samples otherwise" in stderr


def _sign_again(folder: Path) -> None:
    from edgekit.core.digest import digest_file

    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        path = folder / file["name"]
        file |= {"sha256": digest_file(path), "bytes": path.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_targets_of_sequences_are_judged_at_the_last_step(home: Path) -> None:
    data = {"data": str(home / "ends.npz")}
    report = _build(home, "lstm", _LSTM, "ends", ["intel-cpu"], data=data, precision={"precision": "fp32"})
    metric = report.targets[0].metrics[0]
    assert (metric.name, metric.n, metric.float, metric.artifact) == ("top1", 24, 100, 100)


def test_sequences_go_through_in_batches_and_start_from_given_states(home: Path) -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(30, 5, 6)).astype(np.float32)
    h = random.normal(size=(30, 16)).astype(np.float32)
    np.savez(home / "started.npz", x=x, h=h)
    data = {"data": str(home / "started.npz")}
    report = _build(
        home, "gru", _GRU, "batch", ["intel-cpu"], data=data, run={"batch": 4}, precision={"precision": "int8"}
    )
    assert report.targets[0].error is None
    with np.load(home / "batch" / "intel-cpu" / "golden.npz") as golden:
        assert golden["input:h"].any()
        expected = _unrolled(home / "gru.onnx", golden["input:x"], _GRU, {"h": golden["input:h"]})
        assert max_relative({name: golden[f"float:{name}"] for name in expected}, expected) <= 1e-4


def test_without_data_the_sequences_are_made_up(home: Path) -> None:
    report = _build(home, "gru", _GRU, "none", ["intel-cpu"], data={"none": True}, precision={"precision": "int8"})
    (target,) = report.targets
    assert target.error is None
    # Where this machine is an Intel, a clock has its say on the speed.
    assert {gate.passed for gate in target.gates if gate.name != "min-speedup"} == {None}
    with np.load(home / "none" / "intel-cpu" / "golden.npz") as golden:
        assert golden["input:x"].shape == (4, 8, 6)


def test_undeclared_state_ends_before_any_work_with_the_flags_to_paste(home: Path, edgekit: Cli) -> None:
    model, data = home / "lstm.onnx", home / "steps.npz"
    for verb, more in (("build", ["-t", "intel-cpu", "--data", data, "--out", home / "undeclared"]), ("inspect", [])):
        code, stdout, stderr = edgekit(verb, model, *more)
        assert (code, stdout) == (9, "")
        assert "'h' → 'h_out', 'c' → 'c_out'" in stderr
        assert "--state h=h_out --state c=c_out " in " ".join(stderr.split())
    assert not (home / "undeclared").exists()
    code, stdout, _ = edgekit("inspect", model, "--state", "h=h_out", "--state", "c=c_out", "--json")
    assert (code, json.loads(stdout)["inputs"][1]["name"]) == (0, "h")


def test_what_looks_like_state_may_be_ordinary_input(home: Path) -> None:
    random = np.random.default_rng(4)
    arrays = {name: random.normal(size=(40, size)).astype(np.float32) for name, size in (("x", 6), ("h", 16))}
    np.savez(home / "single.npz", x=arrays["x"], h=arrays["h"])
    report = _build(
        home, "gru", "none", "ordinary", ["intel-cpu"],
        data={"data": str(home / "single.npz")}, precision={"precision": "fp32"},
    )  # fmt: skip
    assert report.targets[0].error is None
    with np.load(home / "ordinary" / "intel-cpu" / "golden.npz") as golden:
        assert golden["input:h"].shape == (8, 16)


@pytest.mark.parametrize(
    ("states", "sections", "code", "told"),
    [
        ({"h": "y"}, {}, 9, "the input is batch×16 float32, the output batch×3 float32"),
        ({"h": "h_new"}, {}, 9, "there is no output 'h_new'"),
        ({"h": "h_out", "x": "h_out"}, {}, 2, "the output h_out can't feed two states"),
        (_GRU, {"data": {"data": "plain.npz"}}, 9, "takes sequences, (sequences, steps, 6)"),
        (_GRU, {"precision": {"precision": "int8", "io": "int8"}}, 2, "one scale where it comes out"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(  # noqa: PLR0917 - one column each
    home: Path, monkeypatch: pytest.MonkeyPatch, states: Any, sections: Any, code: int, told: str
) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(EdgekitError) as caught:
        _build(home, "gru", states, "refused", ["raspberry-pi-4"], **sections)
    assert caught.value.exit_code == code
    assert told in caught.value.cause
    assert caught.value.remedy


def test_a_recipe_declares_state_and_init_writes_it(home: Path, edgekit: Cli) -> None:
    recipe = home / "edgekit.toml"
    code, _, stderr = edgekit("init", home / "gru.onnx", "--state", "h=h_out", "--out", recipe)
    assert code == 0, stderr
    assert 'states = { "h" = "h_out" }' in recipe.read_text()
    flags: dict[str, dict[str, Any]] = {
        "data": {"data": str(home / "steps.npz"), "labels": False},
        "precision": {"precision": "fp32"},
    }
    report = build(str(home / "gru.onnx"), ["intel-cpu"], recipe=recipe, flags=flags, out=home / "recipe")
    assert report.targets[0].error is None
    code, _, stderr = edgekit("init", home / "gru.onnx", "--out", home / "other.toml")
    assert code == InvalidInputError.exit_code
    assert "--state h=h_out" in stderr


def test_the_page_shows_a_build_that_works(edgekit: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sequences.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(page.partition("```python\n")[2].partition("```")[0], {})
    command = next(line for line in page.splitlines() if line.startswith("edgekit build "))
    code, _, stderr = edgekit(*command.split()[1:])
    assert code == 0, stderr
    assert (tmp_path / "build" / "stream" / "intel-cpu" / "golden.npz").exists()


def test_a_network_with_state_is_trained_step_by_step(home: Path) -> None:
    """The original shows the states to start from, and the answers."""
    (target,) = _recovered(home, "lstm", _LSTM, {"sparsity": 0.5}).targets
    assert target.error is None
    assert {curve.metric for curve in target.recovered} == {"sqnr"}
    assert sum(curve.after - curve.before for curve in target.recovered) > 1
    assert target.thinned.sparsity == pytest.approx(0.5, abs=0.02)


def test_a_state_that_has_its_batch_elsewhere_is_not_trained(home: Path) -> None:
    (target,) = _recovered(home, "operators", _TORCH, {}).targets
    assert target.exit_code == InvalidInputError.exit_code
    assert "first axis of every input" in target.error["cause"]


def _recovered(home: Path, model: str, states: dict[str, str], shrink: dict[str, Any]) -> Any:
    return _build(
        home,
        model,
        states,
        f"{model}-recovered",
        ["raspberry-pi-4"],
        shrink=shrink,
        recover={"recover": True, "epochs": 60},
        precision={"precision": "fp32"},
    )
