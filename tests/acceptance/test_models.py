"""Models that this project did not make: each builds for both families of targets, and stays what its source is."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.models import prepare
from tests.acceptance.conftest import Build

pytestmark = pytest.mark.acceptance

_TARGETS = ("--target", "raspberry-pi-4", "--target", "intel-cpu")
_TOLERANCE = 1e-4
_INT8 = ("ResNet-8", "VWW", "ad01", "ultraface")
_DEFAULT = ("ResNet-8 .tflite", "VWW .tflite", "DS-CNN", "wake word", "keypoints", "point history")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def sources(acceptance_data: Path, out: Path) -> dict[str, tuple[Path, dict[str, str]]]:
    """Each model with the data that the benchmark gives it."""
    return prepare(acceptance_data, out)


@pytest.fixture(scope="module")
def built(sources: dict[str, tuple[Path, dict[str, str]]], build: Build, out: Path) -> Callable[..., dict[str, Any]]:
    """The build of a model in a precision; each is made once."""
    return functools.cache(lambda name, precision: _build(name, precision, sources, build, out))


def _build(
    name: str, precision: str, sources: dict[str, tuple[Path, dict[str, str]]], build: Build, out: Path
) -> dict[str, Any]:
    path, data = sources[name]
    flags = {"data": "--data", "train": "--train-data", "eval": "--eval-data", "normalize": "--normalize"}
    given = [f"{flags[key]}={value}" for key, value in data.items()]
    return build(path, *_TARGETS, *given, "--precision", precision, "--out", out / f"{name}-{precision}")


@pytest.mark.parametrize("name", [*_INT8, *_DEFAULT])
def test_the_float_artifact_equals_the_source(name, built, sources):
    """Judged by the source framework itself, outside edgekit, each format by its own."""
    fp32 = built(name, "fp32")
    assert fp32["exit_code"] == 0, fp32["targets"]
    source, _ = sources[name]
    for target in fp32["targets"]:
        golden = Path(fp32["out"], target["target"], "golden.npz")
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("source_answers.py"), source, golden],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        differences = json.loads(done.stdout.splitlines()[-1])
        assert differences
        assert max(differences) <= _TOLERANCE, target["target"]


@pytest.mark.parametrize("name", _DEFAULT)
def test_the_default_build_passes_its_gates(name, built):
    document = built(name, "auto")
    assert document["exit_code"] == 0, document["targets"]
    for target in document["targets"]:
        accuracy = target["gates"][0]
        assert accuracy["passed"] is True, target["gates"]
        assert False not in [gate["passed"] for gate in target["gates"]]


@pytest.mark.parametrize("name", _INT8)
def test_int8_keeps_what_the_model_is_for(name, built):
    int8 = built(name, "int8")
    for target in int8["targets"]:
        assert target["error"] is None
        assert target["proof"]["violations"] == []
        metrics = {metric["name"]: metric for metric in target["metrics"]}
        if name == "ResNet-8":
            assert metrics["top1"]["n"] == 5000
            assert abs(metrics["top1"]["float"] - 75.2) < 0.5
            assert metrics["top1"]["drop"] <= 1.0
            labels = Path(int8["out"], target["target"], "labels.txt").read_text().split()
            assert (labels[0], labels[-1], len(labels)) == ("airplane", "truck", 10)
        elif name == "VWW":
            assert metrics["agreement"]["artifact"] >= 98
            assert metrics["worst_class_agreement"]["artifact"] >= 80
            assert metrics["logits_sqnr"]["artifact"] >= 20
        else:
            assert [key for key in metrics if "sqnr" in key], "the SQNR is reported"


def test_ultraface_needs_no_transpose_on_tflite(built):
    from ai_edge_litert.interpreter import Interpreter

    for document in (built("ultraface", "int8"), built("ultraface", "fp32")):
        model = Path(document["out"], "raspberry-pi-4", "model.tflite")
        ops = {op["op_name"] for op in Interpreter(str(model))._get_ops_details()}
        assert "CONV_2D" in ops
        assert "TRANSPOSE" not in ops
