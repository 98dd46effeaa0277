"""Dynamic int8 under `auto`: what no calibrated range can hold, and where there is nothing to make dynamic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.core import events
from edgekit.core.errors import UsageError
from edgekit.pipeline.build import build

_DIGITS = Path(__file__).parents[2] / "models" / "digits-mlp"
_TARGET = """
description = "A board"
backend = "tflite"
architecture = "aarch64"
cpu = "cortex-a72"
precisions = ["int8", "dynamic", "fp32"]
"""
# The back end's own int8, as it is: its repairs would take a minute, and can't help.
_PLAIN = {"ranges": "min-max", "rounding": "nearest", "bias_correction": False}


def _built(model: str, target: str, out: Path, **flags: Any) -> Any:
    (report,) = build(model, [target], flags=flags, out=out).targets
    assert report.error is None, report.error
    return report


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that nothing here speaks for: the order is its own list's."""
    path = tmp_path_factory.mktemp("target") / "board.toml"
    path.write_text(_TARGET)
    return str(path)


@pytest.fixture(scope="module")
def lifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear classifier of digits, whose scores are carried 100 too high, and brought back behind a ReLU.

    In int8 that has steps of 0.4, and the scores span little more than 1. A single layer leaves nothing to mix; and
    dynamic int8 rounds only what comes before.
    """
    with np.load(_DIGITS / "train.npz") as data:
        images, truth = data["x"].astype(np.float64), np.eye(10)[data["y"]]
    images = np.concatenate([images.reshape(len(images), -1), np.ones((len(images), 1))], axis=1)
    solution = np.linalg.lstsq(images, truth, rcond=None)[0].astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["high"], name="scores"),
        helper.make_node("Relu", ["high"], ["cut"], name="cut"),
        helper.make_node("Sub", ["cut", "far"], ["low"], name="drop"),
        helper.make_node("Softmax", ["low"], ["y"], name="softmax"),
    ]
    constants = {"w": solution[:-1], "b": solution[-1] + 100, "far": np.array([100], np.float32)}
    graph = helper.make_graph(
        nodes,
        "lifted",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", len(solution) - 1])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path_factory.mktemp("lifted") / "lifted.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("backend", ["tflite", "onnxruntime"])
def test_auto_weighs_it_behind_int8_and_ships_what_only_it_keeps_right(lifted, target, tmp_path, backend):
    data = {"train": str(_DIGITS / "train.npz"), "eval": str(_DIGITS / "eval.npz")}
    run = {"backend": backend, "devices": ["local"]}
    shipped = _built(str(lifted), target, tmp_path, data=data, precision=_PLAIN, run=run)
    rows = {row["precision"]: row for row in shipped.candidates}
    assert list(rows) == ["int8", "dynamic"]
    assert not rows["int8"]["accurate"]
    assert (shipped.precision, shipped.proof.promised, shipped.proof.compute) == ("dynamic", "dynamic", "float32×int8")
    assert rows["dynamic"]["bytes"] == shipped.bytes < shipped.float_bytes
    manifest = json.loads((tmp_path / "board" / "manifest.json").read_text())
    assert (manifest["repair"], {precision for _, precision in manifest["plan"]["layers"]}) == (None, {"dynamic"})


def test_it_needs_no_data_but_auto_can_not_prove_it_then(target, tmp_path):
    flags: dict[str, Any] = {"data": {"none": True}, "run": {"backend": "onnxruntime"}}
    auto = _built("digits-mlp", target, tmp_path / "auto", **flags)
    assert [row["precision"] for row in auto.candidates] == ["fp32"]
    asked = _built("digits-mlp", target, tmp_path / "asked", **flags, precision={"precision": "dynamic"})
    assert (asked.precision, asked.passed) == ("dynamic", None)


@pytest.mark.parametrize("precision", ["dynamic", "fp16", "fp32"])
def test_integers_at_the_ends_of_what_is_float_are_refused(precision, target, tmp_path):
    flags = {"precision": {"precision": precision, "io": "int8"}}
    with pytest.raises(UsageError, match=f"--io int8: what is {precision} takes and gives float32"):
        build("digits-mlp", [target], flags=flags, out=tmp_path)


def test_auto_says_that_its_ends_are_float(lifted, target, tmp_path):
    heard: list[events.Event] = []
    data = {"train": str(_DIGITS / "train.npz"), "eval": str(_DIGITS / "eval.npz")}
    with events.listening(heard.append):
        shipped = _built(str(lifted), target, tmp_path, data=data, precision={**_PLAIN, "io": "int8"})
    assert shipped.precision == "dynamic"
    assert any("dynamic is best here, and takes and gives float32, not int8" in event.text for event in heard)
