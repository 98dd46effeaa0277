"""An int8 .tflite of the field, built again for both families of targets: still as right as it was, and still int8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.models import prepare
from tests.acceptance.conftest import Build

pytestmark = pytest.mark.acceptance

_TARGETS = ("raspberry-pi-4", "intel-cpu")
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def source(acceptance_data: Path) -> Path:
    return acceptance_data / "mlperf_tiny_models" / "pretrainedResnet_quant.tflite"


@pytest.fixture(scope="module")
def default(
    source: Path, acceptance_data: Path, build: Build, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The build that a user gets who says nothing about precision."""
    home = tmp_path_factory.mktemp("quantized")
    _, data = prepare(acceptance_data, home)["ResNet-8"]
    return build(
        source, *(f"--target={name}" for name in _TARGETS), "--train-data", data["train"], "--eval-data", data["eval"],
        "--out", home / "out",
    )  # fmt: skip


def litert(path: Path, images: Array) -> Array:
    """LiteRT's answers to `images`, with what the file takes and gives brought from and to floats by its own scales."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (step, origin) = given["quantization"], taken["quantization"]
    answers = []
    for image in images:
        fed = image if not scale else np.clip(np.rint(image / scale) + zero, -128, 127)
        interpreter.set_tensor(given["index"], fed[None].astype(given["dtype"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(taken["index"])[0].astype(np.float32))
    return np.stack(answers) if not step else (np.stack(answers) - origin) * np.float32(step)


def test_the_default_build_passes_its_gates_in_int8(default):
    assert default["exit_code"] == 0, default["targets"]
    assert default["source"] == {"format": "tflite", "quantized": "int8"}
    for target in default["targets"]:
        assert target["precision"] == "int8"
        assert target["proof"]["violations"] == []
        assert target["bytes"] < 0.5 * target["float_bytes"]
        gate = next(gate for gate in target["gates"] if gate["name"] == "max-drop")
        assert gate["passed"] is True


def test_accuracy_is_held_against_the_sources_own(default):
    """LiteRT itself gives 74.8 % to the source on these images; its float ancestor has 75.2 %."""
    for target in default["targets"]:
        top1 = next(metric for metric in target["metrics"] if metric["name"] == "top1")
        assert top1["n"] == 5000
        assert abs(top1["float"] - 74.8) <= 0.3
        # The integers are the source's own for TFLite; OpenVINO's first layer is float.
        assert abs(top1["drop"]) <= (0.3 if target["target"] == "raspberry-pi-4" else 1.0)


def test_the_manifest_says_what_it_was_built_from(default):
    for name in _TARGETS:
        manifest = json.loads(Path(default["out"], name, "manifest.json").read_text())
        assert manifest["model"]["quantized"] == "int8"
        assert manifest["model"]["parity"]["rms_steps"] <= 1
        assert manifest["model"]["inputs"][0]["dtype"] == "float32"


def test_litert_classifies_with_the_rebuilt_file_as_with_the_source(default, source):
    built = Path(default["out"], "raspberry-pi-4")
    golden = np.load(built / "golden.npz")
    images = next(golden[name] for name in golden.files if name.startswith("input:"))
    noise = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3)).astype(np.float32)
    everything = np.concatenate([images, noise])
    before, after = litert(source, everything), litert(built / "model.tflite", everything)
    # The integers before it are the same; only the softmax is float in the rebuilt file, int8 by a table in the source.
    assert np.abs(before - after).max() <= 1.001 / 256
    assert (before.argmax(1) == after.argmax(1)).all()


def test_int8_needs_no_data(source, build, tmp_path, default):
    """The scales are in the file: the artifact is the one that data was at hand for."""
    document = build(source, "--target=raspberry-pi-4", "--no-data", "--precision", "int8", "--out", tmp_path / "out")
    (target,) = document["targets"]
    assert target["error"] is None
    assert target["precision"] == "int8"
    assert litert_constants(Path(document["out"])) == litert_constants(Path(default["out"]))


def litert_constants(out: Path) -> list[bytes]:
    """All numbers of the built file; labels and preprocessing are no numbers of the network."""
    from edgekit.formats.tflite import flatbuffer

    file = flatbuffer.read((out / "raspberry-pi-4" / "model.tflite").read_bytes())
    return [bytes(data) for t in file.subgraphs[0].tensors if (data := file.buffers[t.buffer].data) is not None]
