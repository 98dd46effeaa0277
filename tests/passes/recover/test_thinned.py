"""A network that was thinned out is trained without undoing it: zeros stay zero, and weights share their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgekit.core import events
from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.passes.cluster.clustering import ClusterWeights, code_books, keep_code_books
from edgekit.passes.contract import Pass, apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.layer_weights import layer_weights, set_weights
from edgekit.passes.quantize.weights import weight_scale
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.settings import LearningCurve, RecoverSettings
from edgekit.passes.recover.thinned import restoring
from edgekit.passes.sparsify.masks import masks
from edgekit.passes.sparsify.sparsify import Sparsify
from tests.passes.recover.conftest import Digits
from tests.passes.sparsify.networks import every_layer

FAST = RecoverSettings(epochs=4, learning_rate=0.003, thinned=True)


def thinned(digits: Digits, passes: Sequence[Pass]) -> Model:
    fused, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    model, _ = apply(fused, passes, 0)
    return model


def recover(digits: Digits, model: Model, folder: Path, settings: RecoverSettings) -> tuple[Model, LearningCurve]:
    return recover_model(model, digits.dense, digits.train, digits.selection, settings=settings, workdir=folder)


def test_zeros_stay_zero_and_the_accuracy_comes_back(digits: Digits, tmp_path: Path) -> None:
    sparse = thinned(digits, [Sparsify(0.9)])
    assert digits.top1(sparse) < 60
    model, curve = recover(digits, sparse, tmp_path, FAST)
    assert curve.outcome == "recovered"
    assert digits.top1(model) > 98
    before, after = masks(sparse), masks(model)
    assert before.keys() == after.keys()
    for name, mask in before.items():
        np.testing.assert_array_equal(after[name], mask)


def test_shared_values_stay_shared_and_the_accuracy_comes_back(digits: Digits, tmp_path: Path) -> None:
    clustered = thinned(digits, [Sparsify(0.8), ClusterWeights(16)])
    note = {name: book.centres for name, book in code_books(clustered).items()}
    assert digits.top1(clustered) < 60
    model, _ = recover(digits, clustered, tmp_path, FAST)
    assert digits.top1(model) > 98
    before, after = code_books(clustered), code_books(model)
    assert before.keys() == after.keys()
    for weights in layer_weights(model):
        old, new = before[weights.constant], after[weights.constant]
        assert new.centres.size <= 16
        np.testing.assert_array_equal(old.centres, note[weights.constant])
        np.testing.assert_array_equal(old.centres[old.index] == 0, weights.content == 0)
        assert not np.allclose(old.weights, new.weights, rtol=1e-2)
        # Weights that shared a value share one, whatever number it has.
        assert len(np.unique(np.stack([old.index.ravel(), new.index.ravel()]), axis=1).T) <= 16
        shape = [-1 if at == weights.made % weights.content.ndim else 1 for at in range(weights.content.ndim)]
        scale = weight_scale(weights.content, weights.made % weights.content.ndim).reshape(shape)
        assert 3 <= np.unique(np.rint(weights.content / scale)).size <= 16


def test_a_run_that_was_killed_ends_with_the_same_code_books(digits: Digits, tmp_path: Path) -> None:
    clustered, settings = thinned(digits, [ClusterWeights(8)]), dataclasses.replace(FAST, epochs=2)
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    whole, _ = recover(digits, clustered, folders[0], settings)

    def kill(event: events.Event) -> None:
        if "epoch 2 of 2" in event.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), events.listening(kill):
        recover(digits, clustered, folders[1], settings)
    again, _ = recover(digits, clustered, folders[1], settings)
    assert again.digest == whole.digest
    assert code_books(again).keys() == code_books(clustered).keys()


def test_a_broken_code_book_is_said_before_any_training(digits: Digits, tmp_path: Path) -> None:
    clustered = thinned(digits, [ClusterWeights(8)])
    first = layer_weights(clustered)[0]
    noise = np.random.default_rng(0).normal(0, 0.01, first.content.shape)
    set_weights(clustered, first.constant, first.content + noise)
    with pytest.raises(InvalidInputError, match="not those of their code book"):
        recover(digits, clustered, tmp_path, FAST)
    assert not list(tmp_path.iterdir())


def test_weights_of_the_form_stay_and_others_come_to_it() -> None:
    """Layers of every kind: channels on any axis, grouped and transposed."""
    clustered, _ = apply(every_layer(), [Sparsify(0.7), ClusterWeights(8)], 0)
    books, random = code_books(clustered), np.random.default_rng(0)
    variables = {weights.constant: tf.Variable(weights.content) for weights in layer_weights(clustered)}
    restore = restoring(clustered, variables)
    restore()
    for name, book in books.items():
        np.testing.assert_allclose(variables[name].numpy(), book.weights, rtol=1e-5, atol=1e-7)
    after = clustered.clone()
    for name, book in books.items():
        noise = 0.1 * np.abs(book.weights).max() * random.normal(size=book.index.shape)
        variables[name].assign_add(noise.astype(np.float32))
        moved = variables[name].numpy()
        restore()
        restored = variables[name].numpy()
        np.testing.assert_array_equal(restored == 0, book.weights == 0)
        live = book.weights != 0
        assert ((restored - moved)[live] ** 2).sum() < ((book.weights - moved)[live] ** 2).sum()
        set_weights(after, name, restored)
    keep_code_books(clustered, after)
    assert code_books(after).keys() == books.keys()
