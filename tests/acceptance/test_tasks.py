"""Real models that are no image classifiers: a detector judged by its boxes, and a word in frames of audio."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.models import prepare
from tests.acceptance.conftest import Build

pytestmark = pytest.mark.acceptance

_PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_a_face_detector_is_judged_by_its_boxes(
    build: Build, acceptance_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = prepare(acceptance_data, tmp_path)["ultraface"]
    decoder = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)[1]
    (tmp_path / "faces.py").write_text(decoder)
    monkeypatch.chdir(tmp_path)
    flags = ("--data", data["data"], "--normalize=-1..1", "--metric", "faces:faces", "--precision", "int8")
    [target] = build(model, "-t", "intel-cpu", *flags)["targets"]
    metrics = {metric["name"]: metric for metric in target["metrics"]}
    assert target["metrics"][0]["name"] == "box_agreement"
    # NNCF's int8 finds the same faces, or what looks like some.
    assert metrics["box_agreement"]["artifact"] >= 95
    assert metrics["box_iou"]["artifact"] >= 90
    assert metrics["boxes"]["float"] >= 50
    assert next(gate for gate in target["gates"] if gate["name"] == "min-box-agreement")["passed"] is True


def test_frames_of_audio_come_from_the_file_as_it_is(build: Build, acceptance_data: Path, tmp_path: Path) -> None:
    folder = acceptance_data / "mlperf_tiny_models"
    flags = ("--data", folder / "calibration_samples.npz", "--precision", "fp16", "--out", tmp_path / "out")
    [target] = build(folder / "str_ww_ref_model.h5", "-t", "intel-cpu", *flags)["targets"]
    assert target["error"] is None
    assert target["metrics"][0]["name"] == "top1"
    assert target["metrics"][0]["float"] >= 80
    assert target["metrics"][0]["drop"] <= 1
