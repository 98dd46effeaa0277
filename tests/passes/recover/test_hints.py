"""Hints compare the same layers of both networks, and bring them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgekit.core.errors import UsageError
from edgekit.ir.model import Model
from edgekit.lowering.module import LoweredModule
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.recover.hints import hint_loss, matching_layers
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.settings import Hint, RecoverSettings
from edgekit.passes.sparsify.sparsify import Sparsify
from tests.passes.recover.conftest import Digits

HINTS = (Hint.FEATURES, Hint.ATTENTION)
RESOLUTIONS = 2  # of the digits' network: 8 × 8 and 4 × 4


def distance(hint: Hint, student: Model, teacher: Model, digits: Digits) -> float:
    layers = matching_layers(student, teacher, hint)
    assert len(layers) == RESOLUTIONS
    images = tf.constant(next(iter(digits.selection.inputs.values()))[:64])
    return float(hint_loss(hint, layers, *(LoweredModule(model).activations(images) for model in (student, teacher))))


@pytest.mark.parametrize("hint", HINTS)
def test_layers_of_one_network_match_whether_it_is_fused_or_not(hint: Hint, digits: Digits) -> None:
    fused, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    assert distance(hint, digits.dense, fused, digits) < 1e-9


def test_attention_maps_match_whatever_was_pruned_and_features_do_not(digits: Digits) -> None:
    assert 1e-3 < distance(Hint.ATTENTION, digits.pruned, digits.dense, digits) < 2
    with pytest.raises(UsageError, match="no layer of the network matches one of the original's for the hint features"):
        matching_layers(digits.pruned, digits.dense, Hint.FEATURES)


def test_an_attention_map_says_where_and_not_how_much(digits: Digits) -> None:
    random = np.random.default_rng(0)
    layer = matching_layers(digits.dense, digits.dense, Hint.ATTENTION)[:1]
    values = LoweredModule(digits.dense).activations(tf.constant(random.normal(size=(4, 8, 8, 1)), tf.float32))
    louder = {name: laid.like(3 * laid.value) for name, laid in values.items() if name in layer}
    assert float(hint_loss(Hint.ATTENTION, layer, louder, values)) < 1e-9
    assert float(hint_loss(Hint.FEATURES, layer, louder, values)) == pytest.approx(4, rel=1e-4)


@pytest.mark.parametrize("hint", HINTS)
def test_what_is_hinted_at_comes_closer_than_without(hint: Hint, digits: Digits, tmp_path: Path) -> None:
    """The network lost weights, not channels, so that both hints find their layers."""
    sparse, _ = apply(digits.dense, [Sparsify(0.8)], 0)
    found = {}
    for weight in (0.0, 10.0):
        folder = tmp_path / str(weight)
        folder.mkdir()
        settings = RecoverSettings(epochs=4, learning_rate=0.003, hint=hint, hint_weight=weight, thinned=True)
        model, curve = recover_model(
            sparse,
            digits.dense,
            digits.train.unlabelled(),
            digits.selection.unlabelled(),
            settings=settings,
            workdir=folder,
        )
        assert curve.outcome == "recovered"
        found[weight] = distance(hint, model, digits.dense, digits)
    assert found[10.0] < 0.7 * found[0.0]
    assert found[10.0] < 0.7 * distance(hint, sparse, digits.dense, digits)
