"""Layers whose weights became zero, or shared, come back to the outputs that they had; zeros and code books survive."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir.model import Model
from edgekit.ir.run import probe, run
from edgekit.passes.cluster.clustering import ClusterWeights, code_books
from edgekit.passes.contract import apply
from edgekit.passes.correction import CorrectOutputs
from edgekit.passes.layer_weights import layer_weights
from edgekit.passes.sparsify.masks import masks
from edgekit.passes.sparsify.sparsify import Sparsify
from tests.passes.prune.networks import Network
from tests.passes.sparsify.networks import every_layer


def _error(model: Model, other: Model, seed: int) -> float:
    feeds = probe(model, seed, 64)
    pairs = zip(run(model, feeds).values(), run(other, feeds).values(), strict=True)
    return float(sum(((a - b) ** 2).sum() for a, b in pairs))


@pytest.mark.parametrize("changes", [[Sparsify(0.7)], [ClusterWeights(5)], [Sparsify(0.5), ClusterWeights(8)]])
def test_outputs_come_nearer_on_samples_that_it_has_not_seen(changes):
    model = every_layer()
    changed, _ = apply(model, changes, 0)
    corrected, (record,) = apply(changed, [CorrectOutputs(model, probe(model, 0, 64))], 0)
    assert record.fired == 6
    assert _error(model, corrected, 1) < 0.7 * _error(model, changed, 1)


def test_zeros_and_code_books_stay():
    model = every_layer()
    changed, _ = apply(model, [Sparsify(0.6), ClusterWeights(16)], 0)
    corrected, _ = apply(changed, [CorrectOutputs(model, probe(model, 0, 32))], 0)
    for name, mask in masks(changed).items():
        np.testing.assert_array_equal(masks(corrected)[name], mask)
    books = code_books(corrected)
    for name, book in code_books(changed).items():
        np.testing.assert_array_equal(books[name].index, book.index)


def test_a_layer_that_is_only_scaled_and_shifted_comes_back_exactly():
    net = Network(0, channels=4)
    net.x, net.channels = net.conv(net.x, 4, 16), 16
    model = net.model()
    changed = model.clone()
    (weights,) = layer_weights(changed)
    factors = np.linspace(0.5, 2, 16, dtype=np.float32)
    constants = changed.graph.initializers
    constants[weights.constant].const_value = ir.tensor(weights.content * factors[:, None, None, None])
    bias = changed.graph.node("conv0").inputs[2]
    assert bias is not None
    bias.const_value = ir.tensor(np.ones(16, np.float32))
    corrected, _ = apply(changed, [CorrectOutputs(model, probe(model, 0, 16))], 0)
    assert _error(model, changed, 1) > 1
    assert _error(model, corrected, 1) < 1e-6


def test_a_channel_that_says_nothing_keeps_its_weights():
    model = every_layer()
    first = layer_weights(model)[0]
    content = first.content.copy()
    content[3] = 0
    changed = model.clone()
    changed.graph.initializers[first.constant].const_value = ir.tensor(content, name=first.constant)
    corrected, _ = apply(changed, [CorrectOutputs(model, probe(model, 0, 16))], 0)
    assert np.isfinite(next(iter(run(corrected, probe(model, 1, 4)).values()))).all()
    np.testing.assert_array_equal(layer_weights(corrected)[0].content[3], 0)
