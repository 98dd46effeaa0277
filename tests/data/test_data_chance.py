"""A float model at chance is told apart from a weak one, and the right preprocessing is found."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.plain import to_json
from edgekit.core.types import Layout, Preprocess, TensorSpec
from edgekit.data.chance import near_chance, suggest, suggest_preprocess
from edgekit.data.preprocess import ImageShape, normalize
from edgekit.ir.model import Model

SPEC = TensorSpec("x", (None, 4, 4, 3), layout=Layout.NHWC)
SHAPE = ImageShape(4, 4, 3, channels_first=False)


def answers(labels, accuracy, classes, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.random(len(labels)) < accuracy
    wrong = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.eye(classes)[np.where(right, labels, wrong)]


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("n", [200, 3000])
def test_guessing_is_near_chance_and_learning_is_not(classes, n):
    labels = np.random.default_rng(1).integers(0, classes, n)
    assert near_chance(answers(labels, 1 / classes, classes), labels)
    assert near_chance(np.tile(np.eye(classes)[0], (n, 1)), labels)
    assert not near_chance(answers(labels, 0.75, classes), labels)


def test_a_constant_answer_on_unbalanced_data_is_chance():
    labels = (np.arange(500) % 50 == 0).astype(np.int64)
    assert near_chance(np.tile([0.9, 0.1], (500, 1)), labels)


def test_a_handful_of_samples_proves_nothing():
    assert not near_chance(np.tile([0.9, 0.1], (6, 1)), np.array([0, 1] * 3))


def data(n=300, seed=0):
    """Dark and bright, reddish and bluish pictures: four classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    pixels = rng.integers(0, 60, (n, 4, 4, 3)) + 120 * (labels % 2)[:, None, None, None]
    pixels[..., 0] += np.where(labels >= 2, 60, 0)[:, None, None]
    pixels[..., 2] += np.where(labels < 2, 60, 0)[:, None, None]
    return pixels, labels


def trained_for(wanted):
    """A model that is right when it is fed with `wanted`."""
    scale = normalize(np.full((1, 4, 4, 3), 120), wanted, SHAPE).mean()

    def run(fed):
        mean = fed.mean(axis=(1, 2))
        red = mean[:, 2 if wanted.color == "bgr" else 0] - mean[:, 0 if wanted.color == "bgr" else 2]
        guess = 2 * (red > 0) + (mean.mean(axis=1) > scale)
        # A network's saturation: numbers of another range end up in one class.
        spread = np.ptp(fed)
        expected = np.ptp(normalize(np.array([0, 240]).reshape(2, 1, 1, 1), wanted, SHAPE))
        return np.eye(4)[np.where(abs(np.log(spread / expected)) > 0.3, 0, guess)]

    return run


@pytest.mark.parametrize("wanted", [Preprocess(normalize="0..1"), Preprocess(normalize="-1..1", color="bgr")])
def test_the_right_preprocessing_is_named(wanted):
    pixels, labels = data()
    used = Preprocess()
    run = trained_for(wanted)
    fed = normalize(pixels, used, SHAPE)
    assert near_chance(run(fed), labels)
    found = suggest_preprocess(fed, labels, run, spec=SPEC, preprocess=used)
    assert found is not None
    assert found.preprocess == wanted
    assert found.accuracy > 95
    assert found.n == 200
    assert found.flags == f"--normalize={wanted.normalize}" + " --color bgr" * (wanted.color == "bgr")


def test_a_hopeless_model_or_no_image_gets_no_suggestion():
    pixels, labels = data()
    fed = normalize(pixels, Preprocess(), SHAPE)
    assert suggest_preprocess(fed, labels, lambda x: np.ones((len(x), 4)), spec=SPEC, preprocess=Preprocess()) is None
    rows = fed.reshape(len(fed), -1)
    vector = TensorSpec("x", (None, 48))
    assert suggest_preprocess(rows, labels, trained_for(Preprocess()), spec=vector, preprocess=Preprocess()) is None


def test_the_child_entry_runs_the_model_itself(tmp_path):
    """Bright or dark, by a model that compares the mean with half of 0..1."""
    graph = """
        <ir_version: 10, opset_import: ["" : 18]>
        g (float[batch,4,4,3] x) => (float[batch,2] y)
        <int64[3] axes = {1, 2, 3}, float[1] half = {0.45}, float[1] one = {1.0}, int64[1] shape = {1}>
        {
            mean = ReduceMean<keepdims=0>(x, axes)
            m = Unsqueeze(mean, shape)
            over = Sub(m, half)
            clipped = Clip(over)
            sine = Sin(clipped)
            under = Neg(sine)
            y = Concat<axis=1>(under, sine)
        }
    """
    Model(ir.from_onnx_text(graph)).save(tmp_path / "model.onnx")
    pixels, labels = data()
    np.savez(tmp_path / "x.npz", x=normalize(pixels, Preprocess(), SHAPE))
    np.savez(tmp_path / "y.npz", y=labels % 2)
    found = suggest(
        model=str(tmp_path / "model.onnx"),
        inputs=str(tmp_path / "x.npz"),
        labels=str(tmp_path / "y.npz"),
        preprocess=to_json(Preprocess()),
        input_specs=to_json([SPEC]),
    )
    assert found is not None
    assert found["flags"] == "--normalize=0..1"
    assert found["accuracy"] > 95
