"""Builds that are proven on devices: which ones, what each is held to, and what one that fails does to the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.evidence import EvidenceKind
from edgekit.devices.fleet import Board
from edgekit.pipeline.boards import Boards
from edgekit.pipeline.targets import load_target

pytestmark = pytest.mark.usefixtures("emulated_arm")
Run = Callable[..., tuple[int, str, str]]
UNREACHABLE = "ssh://nobody@127.0.0.1:1"  # nothing listens there


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,300 samples to judge on: more than an emulated device is given."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x=x[:1300].astype(np.float32), y=y[:1300])
    return path


def test_the_default_device_of_a_target_proves_the_artifact(edgekit: Run, digits: Path, tmp_path: Path) -> None:
    build = ("build", "digits-mlp", "-t", "raspberry-pi-5", "--eval-data", digits, "--precision", "int8", "--json")
    code, out, _ = edgekit(*build, "--require", "emulated", "--out", tmp_path / "out")
    (target,) = json.loads(out)["targets"]
    (device,) = target["devices"]
    assert (code, target["passed"], device["passed"]) == (0, True, True), target["gates"]
    assert (device["device"], device["kind"], device["latency"]) == ("qemu://cortex-a76", "emulated", None)
    assert target["metrics"] == device["metrics"]
    assert {(m["kind"], m["n"], m["split"]) for m in device["metrics"]} == {("emulated", 1000, "report")}
    assert device["agreement"][0]["artifact"] >= 99.8
    assert device["golden_sqnr"] > 30
    assert target["latency"] is None  # an emulator has no clock
    assert target["latency_at_host"]["kind"] == "measured"
    speed = next(gate for gate in target["gates"] if gate["name"] == "min-speedup")
    assert speed["passed"] is None
    manifest = json.loads((tmp_path / "out" / "raspberry-pi-5" / "manifest.json").read_text())
    assert "qemu" not in json.dumps(manifest)  # the artifact does not depend on where it was proven

    code, out, _ = edgekit(*build, "--require", "emulated", "--device", "local", "--out", tmp_path / "out")
    assert (code, json.loads(out)["targets"][0]["devices"]) == (12, [])


def test_an_emulator_that_is_not_made_leaves_the_host_to_judge(
    edgekit: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_ARM_SYSROOT", str(tmp_path / "nothing"))
    build = ("build", "digits-mlp", "-t", "raspberry-pi-5", "--precision", "int8", "--out", tmp_path / "out")
    code, out, err = edgekit(*build, "--json")
    assert (code, json.loads(out)["targets"][0]["devices"]) == (0, [])
    assert "scripts/arm-sysroot aarch64" in err
    code, out, _ = edgekit(*build, "--json", "--device", "qemu://cortex-a76")  # asked for, it must be there
    assert code == 10
    assert "scripts/arm-sysroot aarch64" in json.loads(out)["targets"][0]["devices"][0]["error"]["remedy"]


def test_a_board_out_of_reach_fails_alone(edgekit: Run, tmp_path: Path) -> None:
    devices = ("--device", UNREACHABLE, "--device", "qemu://cortex-a53")
    code, out, _ = edgekit(
        "build", "digits-mlp", "-t", "raspberry-pi-4", "--precision", "int8", *devices, "--json", "--out", tmp_path
    )
    (target,) = json.loads(out)["targets"]
    lost, emulated = target["devices"]
    assert (code, target["exit_code"], target["passed"]) == (6, 6, False)
    assert (lost["exit_code"], lost["error"]["error"]) == (6, "DeviceError")
    assert (emulated["passed"], emulated["kind"]) == (True, "emulated")
    assert target["metrics"] == emulated["metrics"]
    assert (tmp_path / "raspberry-pi-4" / "model.tflite").is_file()


def test_a_device_of_another_architecture_is_a_mistake(edgekit: Run, tmp_path: Path) -> None:
    build = ("build", "digits-mlp", "-t", "intel-cpu", "--precision", "fp32", "--out", tmp_path, "--json")
    code, out, _ = edgekit(*build, "--device", "qemu://cortex-a53")
    error = json.loads(out)["targets"][0]["error"]
    assert (code, error["error"]) == (2, "UsageError")
    assert "qemu://cortex-a53 is aarch64" in error["cause"]
    code, out, _ = edgekit(*build, "--device", "sssh://pi@kitchen")
    assert code == 2
    assert "ssh://…" in json.loads(out)["error"]["remedy"]


def test_boards_serve_the_targets_that_they_can_run() -> None:
    named = (
        Board("a", "qemu://cortex-a53"),
        Board("b", "qemu://cortex-a72", target="raspberry-pi-4"),
        Board("c", "qemu://armv7"),
        Board("here", "local"),
    )
    boards = Boards(named)
    found: dict[str, Any] = {
        name: boards.of(load_target(name)) for name in ("raspberry-pi-4", "raspberry-pi-5", "intel-cpu")
    }
    assert [[each.board.name for each in asked] for asked in found.values()] == [["a", "b"], ["a"], []]
    assert all(each.facts.kind is EvidenceKind.EMULATED and not each.speaks for each in found["raspberry-pi-4"])
