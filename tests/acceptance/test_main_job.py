"""The main job on the zoo: two families of targets from one command, the contract's document, the folder's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.devices import opening
from edgekit.pipeline.targets import is_here, load_target
from tests.acceptance.conftest import Build
from tests.devices.here import SCHEMES

_TARGETS = ("raspberry-pi-5", "intel-cpu")
_SHARED_FILES = {"manifest.json", "report.json", "golden.npz", "preprocess.json", "example.py"}


@pytest.fixture(scope="module", params=["digits-cnn", "digits-mlp"])
def built(request: pytest.FixtureRequest, build: Build, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out") / request.param
    return build(request.param, "--target", _TARGETS[0], "--target", _TARGETS[1], "--out", out)


def test_both_targets_pass_within_a_point_and_at_most_0_40_of_the_bytes(built):
    assert built["exit_code"] == 0
    for target in built["targets"]:
        assert target["passed"] is True, target["gates"]
        if built["model"] == "digits-cnn":  # whether int8 pays for a perceptron is this CPU's affair
            assert target["precision"] == "int8"
            assert target["bytes"] <= 0.40 * target["float_bytes"]
        gated = target["metrics"][0]
        assert (gated["name"], gated["split"], gated["n"]) == ("top1", "report", 450)
        assert gated["float"] >= 96
        assert gated["drop"] <= 1.0
        assert gated["ci95"][0] <= gated["drop"] <= gated["ci95"][1]
        confusion = np.array(target["confusion"]["digit"])
        assert confusion.sum() == 450
        assert confusion.trace() / 450 == pytest.approx(gated["artifact"] / 100)


def test_precision_is_proved_from_the_runtimes_account(built):
    for target in built["targets"]:
        assert target["proof"]["violations"] == []
        assert target["proof"]["promised"] == target["precision"]
        if target["precision"] == "int8":
            assert "int8" in target["proof"]["storage"]
            assert "int8" in target["proof"]["compute"]


def test_a_latency_belongs_to_the_machine_that_ran(built):
    for target in built["targets"]:
        here = is_here(load_target(target["target"]))
        assert (target["latency"] is not None) == here
        assert (target["latency_at_host"] is None) == here
        measured = target["latency"] or target["latency_at_host"]
        assert measured["kind"] == "measured"
        assert 0 < measured["p50_ms"] <= measured["p90_ms"] <= measured["p99_ms"]
        if target["backend"] == "openvino":
            assert measured["default_p50_ms"] > 0


def test_the_folder_holds_what_a_board_needs(built):
    for target in built["targets"]:
        folder = Path(built["out"], target["target"])
        assert {file.name for file in folder.iterdir()} == _SHARED_FILES | set(target["files"])
        manifest = json.loads((folder / "manifest.json").read_text())
        assert {row["name"] for row in manifest["files"]} == (_SHARED_FILES | set(target["files"])) - {
            "manifest.json",
            "report.json",
        }
        splits = manifest["splits"]
        assert {name: split["n"] for name, split in splits.items()} == {
            "calibration": 256,
            "selection": 1091,
            "report": 450,
        }
        assert str(Path(built["out"]).parent) not in json.dumps(manifest), "a manifest holds no path of this machine"
        with np.load(folder / "golden.npz") as golden:
            kinds = {name.partition(":")[0] for name in golden.files}
        assert kinds == {"input", "output", "float"}


def test_the_example_runs(built):
    for target in built["targets"]:
        folder = Path(built["out"], target["target"])
        done = subprocess.run([sys.executable, folder / "example.py"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "(1, 10)" in done.stdout


def test_the_readmes_python_example_runs(built, store, tmp_path):
    """From the store that the build before it filled, where that was of the same model."""
    import os
    import re

    if built["model"] != "digits-cnn":
        return
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "EDGEKIT_CACHE": str(store)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True [")


def test_a_manifest_names_no_code_that_validate_would_run(built, tmp_path):
    import shutil

    folder = tmp_path / "foreign"
    shutil.copytree(Path(built["out"], "intel-cpu"), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["recipe"]["data"]["metric"] = "evil:f"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "evil.py").write_text("open('ran', 'w')\ndef f(outputs, targets): return 0.0\n")
    eval_data = Path(__file__).parents[2] / "models" / Path(built["out"]).name / "eval.npz"
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "validate", ".", "--data", eval_data],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (folder / "ran").exists()


def test_validate_accepts_the_folder_and_refuses_a_changed_one(built, tmp_path):
    import shutil

    name = Path(built["out"]).name
    folder = Path(built["out"], "raspberry-pi-5")
    eval_data = Path(__file__).parents[2] / "models" / name / "eval.npz"
    command = [sys.executable, "-m", "edgekit", "validate"]
    done = subprocess.run(
        [*command, folder, "--data", eval_data, "--model", name, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    validation = json.loads(done.stdout)
    assert validation["golden_sqnr"] > 30
    assert validation["metrics"][0]["n"] == 450
    assert validation["gates"][0]["passed"] is True

    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    with (changed / "model.tflite").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    done = subprocess.run([*command, changed], capture_output=True, text=True, check=False)
    assert done.returncode == 8
    assert "model.tflite" in done.stderr


def test_validate_judges_what_a_device_answers_and_holds_it_against_this_host(built, edgekit, monkeypatch):
    """On this machine under other names; real boards have tests of their own."""
    name = Path(built["out"]).name
    if name != "digits-cnn":
        return
    for scheme, device in SCHEMES.items():
        monkeypatch.setitem(opening._SCHEMES, scheme, device)
    folder, eval_data = Path(built["out"], "raspberry-pi-5"), Path(__file__).parents[2] / "models" / name / "eval.npz"
    code, out, _ = edgekit("validate", folder, "--data", eval_data, "--device", "here://pi", "--json")
    alone = json.loads(out)
    assert (code, alone["device"], alone["metrics"][0]["n"]) == (0, "here://pi", 450)
    agreement = next(metric for metric in alone["agreement"] if metric["name"] == "agreement")
    assert (agreement["artifact"], agreement["n"]) == (100, 450)

    devices = ("--device", "emulated://a76", "--device", "gone://cellar", "--device", "local")
    code, out, _ = edgekit("validate", folder, "--data", eval_data, *devices, "--json")
    document = json.loads(out)
    emulated, gone, local = document["devices"]
    assert code == document["exit_code"] == gone["exit_code"] == 6
    assert {metric["kind"] for metric in emulated["answer"]["metrics"]} == {"emulated"}
    assert local["answer"]["agreement"] == [], "this host needs no comparison with itself"
    code, out, _ = edgekit("validate", folder, "--data", eval_data, *devices)
    assert code == 6
    assert "450 of 450" in out
    assert "ping cellar" in out
