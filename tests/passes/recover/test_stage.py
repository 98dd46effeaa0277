"""The stage that the pipeline calls, on files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.core.plain import from_json
from edgekit.ir.model import Model
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import LearningCurve, RecoverSettings
from edgekit.pipeline.child import call
from tests.passes.recover.conftest import Digits


def test_true_boxes_judge_and_do_not_train(digits: Digits, tmp_path: Path) -> None:
    """They belong to no output."""
    for folder in ("training", "out", "work"):
        (tmp_path / folder).mkdir()
    boxes = np.zeros((len(digits.train), 1, 5), np.float32)
    Samples(digits.train.inputs, {**digits.train.targets, "objects": boxes}).save(tmp_path / "training")
    np.savez(tmp_path / "selection.npz", **digits.selection.inputs)  # type: ignore[arg-type]
    np.savez(tmp_path / "targets.npz", **digits.selection.targets, objects=boxes[: len(digits.selection)])  # type: ignore[arg-type]
    digits.pruned.save(tmp_path / "pruned.onnx")
    digits.dense.save(tmp_path / "dense.onnx")
    files = {name: tmp_path / f"{name}.npz" for name in ("selection", "targets")}
    answer = call(
        "edgekit.pipeline.native:recover_model",
        {
            "source": tmp_path / "pruned.onnx",
            "out": tmp_path / "out",
            "settings": RecoverSettings(epochs=2, learning_rate=0.01),
            "teacher": tmp_path / "dense.onnx",
            "training": tmp_path / "training",
            "workdir": tmp_path / "work",
            **files,
        },
        what="recovering",
        blame="edgekit",
    )
    curve = from_json(LearningCurve, answer["curve"])
    assert (curve.metric, curve.outcome) == ("top1", "recovered")
    assert digits.top1(Model.load(tmp_path / "out" / "model.onnx")) > 90
