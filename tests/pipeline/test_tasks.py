"""Builds of networks that are no classifiers: a segmenter, a detector and an auto-encoder, with labels and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import InvalidInputError
from edgekit.pipeline.build import build
from edgekit.report.build_report import TargetReport

_N = 120


def _save(path: Path, nodes: list[Any], shape: list[int], outputs: dict[str, list[int]], **weights: Any) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *sizes]) for name, sizes in outputs.items()],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def _build(folder: Path, model: Path, name: str = "out", **data: Any) -> TargetReport:
    flags = {"data": {"data": str(folder / "data.npz"), **data}, "precision": {"precision": "fp16"}}
    [report] = build(str(model), ["intel-cpu"], flags=flags, out=folder / name).targets
    assert report.error is None, report.error
    return report


def _gate(report: TargetReport, name: str) -> Any:
    return next(gate for gate in report.gates if gate.name == name)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The class of a pixel is the colour that is the strongest around it; the truth is the one of the pixel itself."""
    folder = tmp_path_factory.mktemp("segmenter")
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[range(3), range(3)] = 1
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["logits"], name="around", pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["logits"], ["masks"], name="shares", axis=1),
    ]
    model = _save(folder / "segmenter.onnx", nodes, [3, 16, 16], {"masks": [3, 16, 16]}, kernel=kernel)
    labels = np.random.default_rng(0).integers(0, 3, (_N, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    x = np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2)
    labels[:, 0, 0] = 255
    np.savez(folder / "data.npz", x=x, y=labels.astype(np.uint8))
    return folder, model


def test_a_segmenter_is_gated_by_miou(segmenter: tuple[Path, Path]) -> None:
    report = _build(*segmenter)
    assert [metric.name for metric in report.metrics][:2] == ["miou", "pixel_accuracy"]
    assert 70 < (report.metrics[0].float or 0) < 100
    assert _gate(report, "max-drop").passed


def test_a_segmenter_without_labels_is_gated_by_the_float_model_s_masks(segmenter: tuple[Path, Path]) -> None:
    report = _build(*segmenter, name="unlabelled", labels=False)
    assert report.metrics[0].name == "mask_agreement"
    assert _gate(report, "min-mask-agreement").passed
    assert _gate(report, "min-sqnr").passed


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Finds bright cells of a grid; a brighter one gets a larger box."""
    folder, random = tmp_path_factory.mktemp("detector"), np.random.default_rng(0)
    corners = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="xy"), axis=2).reshape(16, 2) / 4
    anchors = np.concatenate([corners, corners + 0.25], axis=1)[None].astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "mean"], ["cells"], name="cells", strides=[4, 4]),
        helper.make_node("Reshape", ["cells", "rows"], ["light"], name="rows"),
        helper.make_node("Mul", ["light", "slope"], ["steep"], name="steep"),
        helper.make_node("Add", ["steep", "bias"], ["logits"], name="logits"),
        helper.make_node("Sigmoid", ["logits"], ["scores"], name="scores"),
        helper.make_node("Mul", ["light", "growth"], ["grown"], name="grow"),
        helper.make_node("Add", ["grown", "anchors"], ["boxes"], name="boxes"),
    ]
    model = _save(
        folder / "detector.onnx",
        nodes,
        [1, 16, 16],
        {"boxes": [16, 4], "scores": [16, 1]},
        mean=np.full((1, 1, 4, 4), 1 / 16, np.float32),
        rows=np.array([0, 16, 1], np.int64),
        slope=np.full((1, 1, 1), 12, np.float32),
        bias=np.full((1, 1, 1), -6, np.float32),
        growth=np.array([[[-0.02, -0.02, 0.02, 0.02]]], np.float32),
        anchors=anchors,
    )
    light = random.uniform(0, 0.6, (_N, 4, 4)).astype(np.float32)
    light[np.arange(_N), random.integers(0, 4, _N), random.integers(0, 4, _N)] = 0.9
    objects = np.full((_N, 16, 5), -1, np.float32)
    for image in range(_N):
        bright = np.flatnonzero(light[image].ravel() > 0.55)
        objects[image, : len(bright)] = np.column_stack([anchors[0, bright], np.zeros(len(bright))])
    x = light[:, None].repeat(4, axis=2).repeat(4, axis=3)
    np.savez(folder / "data.npz", x=x, y_objects=objects)
    return folder, model


def test_a_detector_is_gated_by_its_average_precision(detector: tuple[Path, Path]) -> None:
    report = _build(*detector)
    assert [metric.name for metric in report.metrics][:2] == ["map", "map50"]
    assert (report.metrics[1].float or 0) > 95
    assert _gate(report, "max-drop").passed


def test_a_detector_without_labels_is_gated_by_the_float_model_s_boxes(detector: tuple[Path, Path]) -> None:
    report = _build(*detector, name="unlabelled", labels=False)
    found = {metric.name: metric for metric in report.metrics}
    assert report.metrics[0].name == "box_agreement"
    assert (found["boxes"].float or 0) >= 20
    assert _gate(report, "min-box-agreement").passed


def test_a_metric_that_is_missing_is_said_at_once(detector: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidInputError, match=r"edgekit\.metrics:nothing"):
        _build(*detector, name="missing", metric="edgekit.metrics:nothing")


def test_an_auto_encoder_is_gated_by_what_it_gives_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(24, 8)))[0].astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "down"], ["code"], name="encode"),
        helper.make_node("MatMul", ["code", "up"], ["y"], name="decode"),
    ]
    model = _save(tmp_path / "coder.onnx", nodes, [24], {"y": [24]}, down=basis, up=np.ascontiguousarray(basis.T))
    code = random.normal(0, 3, (_N, 8)) @ basis.T
    np.savez(tmp_path / "data.npz", x=(code + random.normal(0, 0.3, code.shape)).astype(np.float32))
    report = _build(tmp_path, model)
    assert [metric.name for metric in report.metrics][:2] == ["reconstruction_r2", "reconstruction_mse"]
    assert _gate(report, "max-drop").passed
