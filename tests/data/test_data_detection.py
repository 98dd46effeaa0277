"""Detection: average precision by its definition, agreement of two models' boxes, and decoders of every kind."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import metrics
from edgekit.core.errors import InvalidInputError
from edgekit.core.types import TensorSpec
from edgekit.data.metrics import evaluate
from edgekit.data.metrics.boxes import hits
from edgekit.data.metrics.detection import box_agreement_figures

OUTPUTS = (TensorSpec("boxes", (None, 60, 4)), TensorSpec("scores", (None, 60, 3)))


def scene(seed, n=30, anchors=60, noise=0.0):
    """A detector's outputs for images with up to three objects, background in front, and the objects."""
    rng, jitter = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    objects = np.tile(np.array([0, 0, 0, 0, -1], np.float32), (n, 3, 1))
    corner = rng.uniform(0, 0.7, (n, anchors, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.3, (n, anchors, 2))], axis=2)
    logits = np.tile(np.array([6.0, 0, 0]), (n, anchors, 1)) + rng.normal(0, 0.5, (n, anchors, 3))
    for image in range(n):
        for index in range(rng.integers(1, 4)):
            label = int(rng.integers(2))
            objects[image, index] = (*boxes[image, index], label)
            logits[image, index, label + 1] += rng.uniform(4, 12)
    boxes = boxes + noise * 0.1 * jitter.normal(size=boxes.shape)
    logits = logits + 4 * noise * jitter.normal(size=logits.shape)
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return {"boxes": boxes.astype(np.float32), "scores": shares.astype(np.float32)}, objects


def judge(before: Any, after: Any, targets: Any = None, outputs: Any = OUTPUTS, **kwargs: Any) -> dict[str, Any]:
    return {m.name: m for m in evaluate(before, after, targets, outputs, **kwargs)}


def average_precision(found, objects, label, threshold):
    """By the letter of COCO's evaluation, with loops."""
    rows = [(image, *row) for image, boxes in enumerate(found) for row in boxes if row[5] == label]
    truths = [[box for box in image if box[4] == label] for image in objects]
    total, taken, right = sum(map(len, truths)), set(), []
    for image, *row in sorted(rows, key=lambda row: -row[5]):
        best, at = threshold, None
        for index, box in enumerate(truths[image]):
            overlap = metrics.overlaps(np.array([row]), np.array([box]))[0, 0]
            if overlap >= best and (image, index) not in taken:
                best, at = overlap, (image, index)
        right.append(at is not None)
        taken.add(at)
    ranks, correct = np.arange(1, len(right) + 1), np.cumsum(right)
    precision, recall = correct / ranks, correct / total
    return 100 * np.mean([max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 101)])


@settings(max_examples=12)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_mean_average_precision_is_coco_s(seed, noise):
    outputs, objects = scene(seed, n=6, noise=noise)
    found = metrics.non_maximum_suppression(outputs["boxes"], outputs["scores"][..., 1:])
    present = sorted({int(label) for label in objects[..., 4].ravel() if label >= 0})
    for thresholds in ((0.5,), (0.75,), (0.5, 0.75)):
        expected = np.mean([average_precision(found, objects, c, t) for c in present for t in thresholds])
        assert metrics.mean_average_precision(found, objects, thresholds=thresholds) == pytest.approx(expected)


def test_a_perfect_detector_has_every_point_and_a_blind_one_none():
    _, objects = scene(0)
    perfect = [np.column_stack([t[:, :4], np.ones(len(t)), t[:, 4]]) for t in (o[o[:, 4] >= 0] for o in objects)]
    assert metrics.mean_average_precision(perfect, objects) == pytest.approx(100)
    assert metrics.mean_average_precision([np.empty((0, 6))] * len(objects), objects) == 0
    wrong = [np.column_stack([boxes[:, :5], 1 - boxes[:, 5]]) for boxes in perfect]
    assert metrics.mean_average_precision(wrong, objects) == 0


def test_each_object_is_found_once():
    twice = np.array([[0, 0, 1, 1, 0.9, 0], [0, 0, 1, 1, 0.8, 0.0]])
    truth = np.array([[0, 0, 1, 1, 0.0]])
    np.testing.assert_array_equal(hits(twice, truth, np.array([0.5, 0.95])), [[True, False], [True, False]])


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_suppression_leaves_no_two_boxes_of_a_class_that_overlap(seed, iou):
    outputs, _ = scene(seed, n=2)
    scores = np.random.default_rng(seed).uniform(size=(2, 60, 2))
    for kept in metrics.non_maximum_suppression(outputs["boxes"], scores, iou=iou, keep=50):
        assert (np.diff(kept[:, 4]) <= 0).all()
        for label in (0, 1):
            own = kept[kept[:, 5] == label]
            assert (metrics.overlaps(own, own)[~np.eye(len(own), dtype=bool)] <= iou).all()


def test_plain_outputs_are_judged_by_true_boxes():
    before, objects = scene(0)
    found = judge(before, scene(0, noise=0.5)[0], {"objects": objects})
    assert list(found)[:2] == ["map", "map50"]
    assert found["map50"].float > 95
    assert found["map"].drop > 5
    assert found["map"].ci95[0] <= found["map"].drop <= found["map"].ci95[1]
    assert found["map"].unit == "points"
    assert "box_agreement" not in found


def test_without_labels_an_artifact_is_held_against_the_float_model_s_boxes():
    before, _ = scene(0)
    same, worse = judge(before, before), judge(before, scene(0, noise=1.0)[0])
    assert next(iter(same)) == "box_agreement"
    assert same["box_agreement"].artifact == same["box_recall"].artifact == 100
    assert same["box_iou"].artifact == pytest.approx(100)
    assert same["boxes"].float == same["boxes"].artifact >= 30
    assert worse["box_agreement"].artifact < 80
    blind = {**before, "scores": np.tile(np.array([1, 0, 0], np.float32), (30, 60, 1))}
    assert judge(before, blind)["box_agreement"].artifact == 0
    assert judge(before, blind)["boxes"].artifact == 0


def test_a_box_on_the_brink_is_no_disagreement():
    def image(score):
        return [np.array([[0, 0, 1, 1, 0.9, 0], [2, 2, 3, 3, score, 0]])]

    figures = {f.name: f for f in box_agreement_figures(image(0.51) * 60, image(0.49) * 60, seed=0)}
    assert figures["box_agreement"].artifact == 100
    assert (figures["boxes"].float, figures["boxes"].artifact) == (120, 60)


def test_outputs_that_are_no_boxes_are_left_to_their_sqnr():
    before, _ = scene(0)
    offsets = {**before, "boxes": np.random.default_rng(0).normal(size=before["boxes"].shape).astype(np.float32)}
    assert all("sqnr" in name for name in judge(offsets, offsets))
    logits = {**before, "scores": before["scores"] * 9 - 3}
    assert all("sqnr" in name for name in judge(logits, logits))


def test_classes_may_come_before_anchors():
    """As the boxes and scores that a NonMaxSuppression took."""
    before, objects = scene(0)
    moved = {**before, "scores": before["scores"].transpose(0, 2, 1)}
    specs = (OUTPUTS[0], TensorSpec("scores", (None, 3, 60)))
    expected = judge(before, before, {"objects": objects})["map"].float
    assert judge(moved, moved, {"objects": objects}, specs)["map"].float == expected


def test_centres_and_sizes_are_boxes_too():
    before, objects = scene(0)
    b = before["boxes"]
    centres = {**before, "boxes": np.concatenate([(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], axis=2)}
    corners = judge(before, before, {"objects": objects})["map"].float
    assert judge(centres, centres, {"objects": objects})["map"].float == pytest.approx(corners, abs=0.5)


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_detector.py").write_text(
        textwrap.dedent(
            """
            import numpy as np
            from edgekit.metrics import decoder, non_maximum_suppression

            @decoder
            def faces(outputs):
                return non_maximum_suppression(outputs["where"], outputs["what"][..., 1:])

            @decoder
            def few(outputs): return faces(outputs)[:3]

            @decoder
            def nan(outputs): return [np.full((1, 6), np.nan)] * len(outputs["where"])

            @decoder
            def flat(outputs): return [np.ones(5)] * len(outputs["where"])

            @decoder
            def broken(outputs): return outputs["boxes"]
            """
        )
    )
    monkeypatch.chdir(tmp_path)


def test_a_decoder_of_one_s_own_is_judged_like_plain_outputs(module):
    before, objects = scene(0)
    after = scene(0, noise=0.3)[0]
    specs = (TensorSpec("where", (None, 60, 4)), TensorSpec("what", (None, 60, 3)))
    pair: Any = [{"where": each["boxes"], "what": each["scores"]} for each in (before, after)]
    plain = judge(before, after, {"objects": objects})["map"]
    own = judge(pair[0], pair[1], {"objects": objects}, specs, custom="my_detector:faces")["map"]
    assert (own.float, own.artifact, own.ci95) == (plain.float, plain.artifact, plain.ci95)
    assert next(iter(judge(pair[0], pair[1], None, specs, custom="my_detector:faces"))) == "box_agreement"
    for name, words in (("few", "for 3 images of 30"), ("nan", "NaN"), ("flat", "failed"), ("broken", "KeyError")):
        with pytest.raises(InvalidInputError, match=words) as caught:
            judge(pair[0], pair[1], None, specs, custom=f"my_detector:{name}")
        assert "docs/metrics.md" in caught.value.remedy


def test_true_boxes_without_a_way_to_boxes_are_an_error():
    values = {"values": np.ones((4, 3), np.float32)}
    objects = np.tile(np.array([0, 0, 1, 1, 0], np.float32), (4, 1, 1))
    with pytest.raises(InvalidInputError, match="no plain boxes and scores"):
        judge(values, values, {"objects": objects}, (TensorSpec("values", (None, 3)),))


@pytest.mark.parametrize("newest", [False, True])
def test_yolo_s_rows_become_boxes(newest):
    rows = np.zeros((2, 50, 7), np.float32)
    rows[:, 3] = (0.5, 0.5, 0.2, 0.4, 0.9, 0.1, 0.8)
    found = metrics.yolo({"out": np.delete(rows, 4, axis=2).transpose(0, 2, 1) if newest else rows})
    assert [boxes[:, 5].tolist() for boxes in found] == [[1, 0], [1, 0]]
    score = 0.8 if newest else 0.9 * 0.8
    np.testing.assert_allclose(found[0][0], (0.4, 0.3, 0.6, 0.7, score, 1), rtol=1e-6)


def test_offsets_of_nothing_are_the_anchors():
    anchors = metrics.ssd_anchors((240, 320), (8, 16, 32, 64), [[(s, s) for s in sizes] for sizes in (
        (10, 16, 24), (32, 48), (64, 96), (128, 192, 256),
    )])  # fmt: skip
    assert anchors.shape == (4420, 4)
    corners = metrics.from_offsets(np.zeros((1, 4420, 4)), anchors)
    np.testing.assert_allclose(corners[0], metrics.from_centres(anchors))
