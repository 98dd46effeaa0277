"""Segmentation and auto-encoders: against scikit-learn, and what a broken artifact looks like without labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from edgekit.core.types import Layout, TensorSpec
from edgekit.data.metrics import evaluate

MASKS = TensorSpec("masks", (None, 8, 10, 4), layout=Layout.NHWC)


def scores(maps, noise, seed):
    """Probabilities (n, H, W, 4) that mostly say what the maps say."""
    rng = np.random.default_rng(seed)
    logits = 4 * np.eye(4)[maps] + rng.normal(0, noise, (*maps.shape, 4))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def areas(seed, n=12):
    """Label maps with an area of each class."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (n, 4, 5))
    return coarse.repeat(2, axis=1).repeat(2, axis=2)


def judge(before, after, targets=None, spec=MASKS, **kwargs):
    truth = None if targets is None else {spec.name: targets}
    return {m.name: m for m in evaluate({spec.name: before}, {spec.name: after}, truth, (spec,), **kwargs)}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_miou_as_scikit_learn_counts(seed):
    maps = areas(seed)
    truth = maps.astype(np.uint8)
    truth[:, 0, :] = 255
    before, after = scores(maps, 1, seed), scores(maps, 3, seed)
    found = judge(before, after, truth)
    counted = truth != 255
    for which, answer in (("float", before), ("artifact", after)):
        predicted = answer.argmax(-1)
        expected = sk.jaccard_score(truth[counted], predicted[counted], average="macro", labels=np.unique(maps))
        assert getattr(found["miou"], which) == pytest.approx(100 * expected)
        assert getattr(found["pixel_accuracy"], which) == pytest.approx(100 * (predicted == truth)[counted].mean())
    assert next(iter(found)) == "miou"
    assert found["miou"].ci95[0] <= found["miou"].drop <= found["miou"].ci95[1]


def test_the_layout_of_the_classes_changes_nothing():
    maps = areas(0)
    before, after = scores(maps, 1, 0), scores(maps, 3, 0)
    first = TensorSpec("masks", (None, 4, 8, 10), layout=Layout.NCHW)
    last = judge(before, after, maps.astype(np.uint8))
    moved = judge(np.moveaxis(before, 3, 1), np.moveaxis(after, 3, 1), maps.astype(np.uint8), first)
    for name in ("miou", "pixel_accuracy", "logits_sqnr"):
        assert moved[name].artifact == pytest.approx(last[name].artifact)
    last, moved = judge(before, after), judge(np.moveaxis(before, 3, 1), np.moveaxis(after, 3, 1), None, first)
    assert moved["mask_agreement"].artifact == last["mask_agreement"].artifact


def test_without_labels_masks_are_held_against_the_float_model_s():
    maps = areas(0)
    before = scores(maps, 1, 0)
    assert judge(before, before)["mask_agreement"].artifact == 100
    found = judge(before, scores(maps, 3, 1))
    assert list(found)[:2] == ["mask_agreement", "pixel_agreement"]
    predicted = before.argmax(-1).ravel(), scores(maps, 3, 1).argmax(-1).ravel()
    assert found["mask_agreement"].artifact == pytest.approx(100 * sk.jaccard_score(*predicted, average="macro"))
    constant = np.broadcast_to(np.array([0.7, 0.1, 0.1, 0.1], np.float32), before.shape)
    assert judge(before, constant)["mask_agreement"].artifact < 30


def test_one_score_a_pixel_tells_two_classes():
    spec = TensorSpec("mask", (None, 8, 10, 1), layout=Layout.NHWC)
    maps = (areas(0) > 1).astype(np.uint8)
    logits = (6.0 * maps - 3 + np.random.default_rng(0).normal(0, 1, maps.shape))[..., None].astype(np.float32)
    shares = 1 / (1 + np.exp(-logits))
    assert judge(logits, logits, maps, spec)["miou"].artifact > 95
    assert judge(shares, shares, maps, spec)["miou"].artifact == judge(logits, logits, maps, spec)["miou"].artifact
    assert judge(shares, shares, None, spec, activations={"mask": "sigmoid"})["mask_agreement"].artifact == 100


def test_an_auto_encoder_is_judged_by_what_it_gives_back():
    rng = np.random.default_rng(0)
    spec = TensorSpec("out", (None, 32))
    inputs = rng.normal(0, 5, (60, 32)).astype(np.float32)
    before = inputs + rng.normal(0, 1, inputs.shape).astype(np.float32)
    after = before + rng.normal(0, 1, inputs.shape).astype(np.float32)
    found = judge(before, after, None, spec, echoed={"out": inputs})
    assert list(found)[:3] == ["reconstruction_r2", "reconstruction_mse", "reconstruction_mae"]
    assert found["reconstruction_mse"].float == pytest.approx(np.mean((before - inputs) ** 2), rel=1e-5)
    assert found["reconstruction_r2"].drop == pytest.approx(
        100 * sk.r2_score(inputs, before, multioutput="variance_weighted")
        - 100 * sk.r2_score(inputs, after, multioutput="variance_weighted"),
        rel=1e-3,
    )
    assert found["reconstruction_mse"].ci95[0] < found["reconstruction_mse"].drop < 0
    assert "sqnr" in found
    elsewhere = judge(-before, -after, None, spec, echoed={"out": inputs})
    assert all("sqnr" in name for name in elsewhere), "a network with an input-like output that is no auto-encoder"
