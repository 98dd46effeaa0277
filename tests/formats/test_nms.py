"""A detector's NonMaxSuppression is cut off: boxes and scores come out, the cut is recorded, and the user is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.core.errors import UnsupportedOpError
from edgekit.formats.importer import PARITY_LIMIT, import_model
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run, run_bytes

Make = Callable[..., onnx.ModelProto]
_RANKS = {"selected": 2, "more": 2, "box_map": 4}
_ANCHORS, _CLASSES, _CELLS = 2, 3, 64


@pytest.fixture
def detector(onnx_model: Make) -> Make:
    """Makes a detector of 3×16×16 images: a convolution, boxes and scores of 128 anchors, and the given tail."""

    def make(
        tail: Sequence[onnx.NodeProto], outputs: Sequence[str], *, opset: int = 13, boxes: str = "xyxy", **weights: Any
    ) -> onnx.ModelProto:
        random = np.random.default_rng(0)
        maps: dict[str, Any] = {
            "stem_w": random.standard_normal((16, 3, 3, 3), np.float32) / 6,
            "boxes_w": random.standard_normal((_ANCHORS * 4, 16, 1, 1), np.float32) / 6,
            "scores_w": random.standard_normal((_ANCHORS * _CLASSES, 16, 1, 1), np.float32) / 6,
            "to_boxes": np.array([1, -1, 4]),
            "to_scores": np.array([1, _CLASSES, -1]),
            "most": np.array([5]),
            "iou": np.array([0.5], np.float32),
            "least": np.array([0.4], np.float32),
            **weights,
        }
        nodes = [
            helper.make_node("Conv", ["image", "stem_w"], ["stem"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["stem"], ["features"], "act"),
            helper.make_node("Conv", ["features", "boxes_w"], ["box_map"], "box_head"),
            helper.make_node("Reshape", ["box_map", "to_boxes"], [boxes], "box_rows"),
            helper.make_node("Conv", ["features", "scores_w"], ["score_map"], "score_head"),
            helper.make_node("Reshape", ["score_map", "to_scores"], ["logits"], "score_rows"),
            helper.make_node("Sigmoid", ["logits"], ["probabilities"], "sigmoid"),
            *tail,
        ]
        shapes = {name: [None] * _RANKS.get(name, 3) for name in outputs}
        model = onnx_model(nodes, {"image": [1, 3, 16, 16]}, shapes, maps, opset=opset)
        for value in model.graph.output:
            if _RANKS.get(value.name) == 2:
                value.type.tensor_type.elem_type = onnx.TensorProto.INT64
        return model

    return make


def _nms(boxes: str = "xyxy", scores: str = "probabilities", result: str = "selected", **attributes: Any):
    name = "nms" if result == "selected" else f"nms_{result}"
    return helper.make_node("NonMaxSuppression", [boxes, scores, "most", "iou", "least"], [result], name, **attributes)


def _tail(result: str = "selected", boxes: str = "xyxy"):
    """The boxes that were kept, as exporters gather them."""
    return [
        helper.make_node("Gather", [result, "third"], ["picked"], "pick", axis=1),
        helper.make_node("Squeeze", ["picked", "second"], ["indices"], "flat"),
        helper.make_node("Gather", [boxes, "indices"], ["kept"], "keep", axis=1),
        helper.make_node("TopK", ["kept", "one"], ["best", "places"], "top", axis=1),
        helper.make_node("Concat", ["kept", "best"], ["detections"], "together", axis=1),
    ]


_INDICES = {"third": np.array([2]), "second": np.array([1]), "one": np.array([1])}


def _imported(proto: onnx.ModelProto, folder: Path) -> tuple[Model, dict[str, Any]]:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    (folder / "out").mkdir()
    answer = import_model(str(folder / "model.onnx"), str(folder / "out"))
    assert answer["parity"]["max_relative"] <= PARITY_LIMIT
    return Model.load(folder / "out" / "model.onnx"), answer


def test_boxes_and_scores_come_out_and_the_tail_goes(detector: Make, tmp_path: Path) -> None:
    proto = detector([_nms(center_point_box=1), *_tail()], ["detections"], **_INDICES)
    model, answer = _imported(proto, tmp_path)
    assert [spec.name for spec in model.outputs] == ["boxes", "scores"]
    assert [spec.shape for spec in model.outputs] == [(None, 128, 4), (None, 3, 128)]
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Conv", "Reshape", "Conv", "Reshape", "Sigmoid"]
    assert answer["cut"] == [
        {
            "op": "NonMaxSuppression",
            "layer": "nms",
            "outputs": {"boxes": "boxes", "scores": "scores"},
            "constants": {},
            "attributes": {
                "center_point_box": 1,
                "max_output_boxes_per_class": 5,
                "iou_threshold": 0.5,
                "score_threshold": pytest.approx(0.4),
            },
            "dropped": ["detections"],
        }
    ]
    (warning,) = answer["warnings"]
    assert "'nms'" in warning
    assert "boxes, scores" in warning
    assert "iou_threshold 0.5" in warning
    feeds = probe(model, seed=1, samples=1)
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in ("xyxy", "probabilities"))
    source = run_bytes(proto.SerializeToString(), feeds)
    own = run(model, feeds)
    assert max_relative(own, {"boxes": source["xyxy"], "scores": source["probabilities"]}) < 1e-6


def test_a_program_that_suppresses_on_the_outputs_gets_the_detections(detector: Make, tmp_path: Path) -> None:
    """What the cut records is all that is needed to make up for it."""
    proto = detector([_nms()], ["selected"])
    model, answer = _imported(proto, tmp_path)
    attributes = answer["cut"][0]["attributes"]
    figures = [("most", "max_output_boxes_per_class"), ("iou", "iou_threshold"), ("least", "score_threshold")]
    nms = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["selected"])
    graph = helper.make_graph(
        [nms],
        "nms",
        [helper.make_tensor_value_info(spec.name, 1, None) for spec in model.outputs],
        [helper.make_tensor_value_info("selected", onnx.TensorProto.INT64, None)],
        [
            onnx.numpy_helper.from_array(np.array([attributes[key]], np.int64 if name == "most" else np.float32), name)
            for name, key in figures
        ],
    )
    program = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    feeds = probe(model, seed=1, samples=1)
    wanted = run_bytes(proto.SerializeToString(), feeds)["selected"]
    assert len(wanted) > 1
    np.testing.assert_array_equal(run_bytes(program.SerializeToString(), run(model, feeds))["selected"], wanted)


@pytest.mark.parametrize("opset", [10, 11, 13, 18, 24])
def test_every_opset_that_has_it(opset: int, detector: Make, tmp_path: Path) -> None:
    model, _ = _imported(detector([_nms()], ["selected"], opset=opset), tmp_path)
    assert [spec.name for spec in model.outputs] == ["boxes", "scores"]


def test_outputs_that_need_no_suppression_stay_first(detector: Make, tmp_path: Path) -> None:
    model, answer = _imported(detector([_nms()], ["selected", "box_map", "xyxy"]), tmp_path)
    assert [spec.name for spec in model.outputs] == ["box_map", "xyxy", "scores"]
    assert answer["cut"][0]["outputs"] == {"xyxy": "boxes", "scores": "scores"}


def test_names_that_are_taken_are_numbered(detector: Make, tmp_path: Path) -> None:
    tail = [helper.make_node("Neg", ["boxes"], ["negated"], "neg"), _nms("negated")]
    model, answer = _imported(detector(tail, ["selected"], boxes="boxes"), tmp_path)
    assert [spec.name for spec in model.outputs] == ["boxes_1", "scores"]
    assert answer["cut"][0]["outputs"] == {"boxes_1": "boxes", "scores": "scores"}


def test_two_in_one_network(detector: Make, tmp_path: Path) -> None:
    second = helper.make_node("Tanh", ["logits"], ["others"], "tanh")
    proto = detector([second, _nms(), _nms(scores="others", result="more")], ["selected", "more"])
    model, answer = _imported(proto, tmp_path)
    assert [spec.name for spec in model.outputs] == ["boxes", "scores", "scores_1"]
    assert [cut["outputs"] for cut in answer["cut"]] == [
        {"boxes": "boxes", "scores": "scores"},
        {"boxes": "boxes", "scores_1": "scores"},
    ]


def test_one_behind_the_other_goes_with_it(detector: Make, tmp_path: Path) -> None:
    rescored = [
        helper.make_node("Gather", ["selected", "third"], ["picked"], "pick", axis=1),
        helper.make_node("Squeeze", ["picked", "second"], ["indices"], "flat"),
        helper.make_node("Gather", ["xyxy", "indices"], ["kept"], "keep", axis=1),
        helper.make_node("Gather", ["probabilities", "indices"], ["kept_scores"], "keep_scores", axis=2),
        _nms("kept", "kept_scores", "more"),
    ]
    proto = detector([_nms(), *rescored], ["more"], **_INDICES)
    model, answer = _imported(proto, tmp_path)
    assert [spec.name for spec in model.outputs] == ["boxes", "scores"]
    assert len(answer["cut"]) == 1


def test_boxes_that_are_the_same_for_every_image_are_no_output(detector: Make, tmp_path: Path) -> None:
    anchors = np.random.default_rng(0).random((1, 2 * _CELLS, 4), np.float32)
    model, answer = _imported(detector([_nms("anchors")], ["selected"], anchors=anchors), tmp_path)
    assert [spec.name for spec in model.outputs] == ["scores"]
    assert answer["cut"][0]["constants"] == {"anchors": "boxes"}
    assert "'anchors'" in answer["warnings"][0]


def test_figures_that_depend_on_the_image_are_unknown(detector: Make, tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["probabilities"], ["average"], "average", keepdims=0)
    nms = helper.make_node("NonMaxSuppression", ["xyxy", "probabilities", "", "average"], ["selected"], "nms")
    _, answer = _imported(detector([mean, nms], ["selected"]), tmp_path)
    assert answer["cut"][0]["attributes"] == {"center_point_box": 0, "iou_threshold": None}


def test_other_tails_whose_size_depends_on_the_data_stay_errors(detector: Make, tmp_path: Path) -> None:
    tail = [helper.make_node("NonZero", ["probabilities"], ["selected"], "nonzero")]
    with pytest.raises(UnsupportedOpError, match="nonzero"):
        _imported(detector(tail, ["selected"]), tmp_path)


def test_a_build_for_both_families_names_the_cut(detector: Make, tmp_path: Path, edgekit) -> None:
    path, out = tmp_path / "detector.onnx", tmp_path / "out"
    path.write_bytes(detector([_nms(), *_tail()], ["detections"], **_INDICES).SerializeToString())
    targets = ("raspberry-pi-4", "intel-cpu")
    code, printed, messages = edgekit(
        "build", path, "-t", targets[0], "-t", targets[1], "--no-data", "--precision", "fp32", "-o", out, "--json"
    )
    assert (code, len(json.loads(printed)["targets"])) == (0, 2)
    assert "cut off" in messages
    for target in targets:
        manifest = json.loads((out / target / "manifest.json").read_text())
        assert [spec["name"] for spec in manifest["model"]["outputs"]] == ["boxes", "scores"]
        (cut,) = manifest["model"]["cut"]
        assert (cut["op"], cut["layer"], cut["attributes"]["iou_threshold"]) == ("NonMaxSuppression", "nms", 0.5)
        golden = np.load(out / target / "golden.npz")
        for name in ("boxes", "scores"):
            assert max_relative({name: golden[f"output:{name}"]}, {name: golden[f"float:{name}"]}) < 1e-4
