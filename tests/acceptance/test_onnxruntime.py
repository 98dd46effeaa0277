"""int8 for ONNX Runtime, from one command: proven here and on an emulated ARM, on the zoo and on real photos."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.acceptance.conftest import Build

pytestmark = pytest.mark.usefixtures("emulated_arm")

_INT8 = ("--backend", "onnxruntime", "--precision", "int8")


def test_digits_are_read_alike_on_x86_and_on_arm(build: Build, tmp_path: Path) -> None:
    document = build("digits-cnn", "-t", "intel-cpu", "-t", "arm64-linux", *_INT8, "--out", tmp_path / "out")
    assert document["exit_code"] == 0, document
    for target in document["targets"]:
        assert target["backend"] == "onnxruntime"
        assert target["bytes"] <= 0.40 * target["float_bytes"]
        assert target["metrics"][0]["drop"] <= 1.0
        assert (target["proof"]["storage"], target["proof"]["compute"]) == ("int8", "int8")
        assert target["proof"]["violations"] == []
    (device,) = document["targets"][1]["devices"]
    assert device["runtime"].startswith("onnxruntime ")
    assert device["kind"] == "emulated"
    agreement = {metric["name"]: metric["artifact"] for metric in device["agreement"]}
    assert agreement["agreement"] >= 99.5


def test_photos_keep_their_classes(build: Build, tmp_path: Path, acceptance_data: Path) -> None:
    with tarfile.open(acceptance_data / "cifar10_jpeg_test5k.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    model = acceptance_data / "mlperf_tiny_models" / "pretrainedResnet.h5"
    document = build(model, "-t", "intel-cpu", *_INT8, "--data", tmp_path / "test", "--out", tmp_path / "out")
    (target,) = document["targets"]
    (top1,) = [metric for metric in target["metrics"] if metric["name"] == "top1"]
    assert top1["float"] >= 70
    assert top1["drop"] <= 1.0
    assert target["proof"]["violations"] == []
