"""The shipped models are what the zoo claims: sizes, accuracies, honest splits, and one network in two formats."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekit.core.recipe_file import load_recipe
from edgekit.core.resources import resource
from edgekit.pipeline import child

DIGITS = 1797
HELD_OUT = 450
# name: fewest and most parameters, least accuracy on the held-out digits
CLAIMS = {"digits-cnn": (80_000, 120_000, 0.97), "digits-mlp": (1, 400_000, 0.96)}
each_model = pytest.mark.parametrize("name", CLAIMS)


def folder(name: str) -> Path:
    return resource(f"models/{name}")


def samples(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder(name) / f"{split}.npz") as arrays:
        return arrays["x"], arrays["y"]


def answers(model: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0])


def parameters(keras_file: Path) -> int:
    """Counted in the file itself; TensorFlow is not needed for it."""
    import h5py

    sizes: list[int] = []
    weights = io.BytesIO(zipfile.ZipFile(keras_file).read("model.weights.h5"))
    with h5py.File(weights) as file:
        file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    return sum(sizes)


@each_model
def test_a_model_has_the_claimed_size(name: str) -> None:
    fewest, most, _ = CLAIMS[name]
    assert fewest <= parameters(folder(name) / f"{name}.keras") <= most


@each_model
def test_a_model_has_the_claimed_accuracy_on_digits_it_never_saw(name: str) -> None:
    x, y = samples(name, "eval")
    assert np.mean(answers(folder(name) / f"{name}.onnx", x).argmax(axis=1) == y) >= CLAIMS[name][2]


@each_model
def test_the_onnx_file_is_the_keras_network(name: str, tmp_path: Path) -> None:
    child.call(
        "edgekit.formats.importer:import_model",
        {"source": folder(name) / f"{name}.keras", "out": tmp_path},
        what=f"importing {name}",
        blame="the zoo",
    )
    x, _ = samples(name, "eval")
    np.testing.assert_allclose(
        answers(tmp_path / "model.onnx", x), answers(folder(name) / f"{name}.onnx", x), atol=1e-6
    )


@each_model
def test_the_splits_are_the_digits_of_scikit_learn_each_in_one_split(name: str) -> None:
    from sklearn.datasets import load_digits

    (train_x, train_y), (eval_x, eval_y) = samples(name, "train"), samples(name, "eval")
    assert (len(train_y), len(eval_y)) == (DIGITS - HELD_OUT, HELD_OUT)
    shipped = np.column_stack(
        [np.concatenate([train_x, eval_x]).reshape(DIGITS, -1), np.concatenate([train_y, eval_y])]
    )
    digits = load_digits()
    source = np.column_stack([digits.data, digits.target]).astype(shipped.dtype)
    # The same rows, each as often as in the source: none is lost, invented or in both splits.
    assert sorted(shipped.tolist()) == sorted(source.tolist())


@each_model
def test_every_digit_is_held_out_in_its_share(name: str) -> None:
    counts = np.bincount(samples(name, "eval")[1], minlength=10)
    assert counts.min() >= 0.09 * HELD_OUT
    assert counts.max() <= 0.11 * HELD_OUT


def test_both_models_are_judged_on_the_same_digits() -> None:
    cnn, mlp = (samples(name, "eval") for name in CLAIMS)
    np.testing.assert_array_equal(cnn[0].reshape(HELD_OUT, -1), mlp[0])
    np.testing.assert_array_equal(cnn[1], mlp[1])


@each_model
def test_the_recipe_names_the_model_and_its_data(name: str) -> None:
    recipe = load_recipe(folder(name) / "edgekit.toml", {})
    assert recipe.model.path == folder(name) / f"{name}.keras"
    assert recipe.data.train == str(folder(name) / "train.npz")
    assert recipe.data.eval == str(folder(name) / "eval.npz")
    assert recipe.data.normalize == "none"
