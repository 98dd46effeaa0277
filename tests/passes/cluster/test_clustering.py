"""Clustering: few values a layer, few integers in int8, zeros that stay, and centres that are means."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.model import Model
from edgekit.passes.cluster.clustering import ClusterWeights, code_books
from edgekit.passes.cluster.k_means import k_means, nearest
from edgekit.passes.contract import apply
from edgekit.passes.layer_weights import layer_weights
from edgekit.passes.quantize.weights import weight_scale
from edgekit.passes.sparsify.masks import masks
from edgekit.passes.sparsify.sparsify import Sparsify
from tests.passes.sparsify.networks import every_layer


@pytest.mark.parametrize("sparsity", [None, 0.7])
@pytest.mark.parametrize("k", [3, 16, 256])
def test_the_integers_of_a_layer_are_as_few_as_its_clusters(k, sparsity):
    model = every_layer()
    first = [] if sparsity is None else [Sparsify(sparsity)]
    clustered, _ = apply(model, [*first, ClusterWeights(k)], 0)
    for weights in layer_weights(clustered):
        shape = [-1 if at == weights.made % weights.content.ndim else 1 for at in range(weights.content.ndim)]
        scale = weight_scale(weights.content, weights.made % weights.content.ndim).reshape(shape)
        assert 3 <= np.unique(np.rint(weights.content / scale)).size <= k


def test_zeros_stay_zero_and_others_do_not_become_it():
    sparse, _ = apply(every_layer(), [Sparsify(0.8)], 0)
    clustered, _ = apply(sparse, [ClusterWeights(8)], 0)
    assert masks(sparse).keys() == masks(clustered).keys()
    for name, mask in masks(sparse).items():
        np.testing.assert_array_equal(mask, masks(clustered)[name])


def test_more_clusters_are_nearer():
    model, errors = every_layer(), []
    for k in (3, 8, 32, 256):
        clustered, _ = apply(model, [ClusterWeights(k)], 0)
        pairs = zip(layer_weights(model), layer_weights(clustered), strict=True)
        errors.append(sum(float(((a.content - b.content) ** 2).sum()) for a, b in pairs))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 500


def test_a_saved_model_still_has_its_code_books(tmp_path):
    clustered, _ = apply(every_layer(), [Sparsify(0.5), ClusterWeights(16)], 0)
    clustered.save(tmp_path / "model.onnx")
    model = Model.load(tmp_path / "model.onnx")
    books = code_books(model)
    assert len(books) == 6
    for weights in layer_weights(model):
        book = books[weights.constant]
        assert book.centres.size <= 16
        assert 0 in book.centres
        np.testing.assert_allclose(book.weights, weights.content, rtol=1e-5)
        # Moving one centre moves its weights, and no other.
        book.centres[3] += 1
        moved = ~np.isclose(book.weights, weights.content, rtol=1e-5, atol=0)
        np.testing.assert_array_equal(moved, book.index == 3)


def test_weights_that_were_changed_since_are_no_code_book():
    clustered, _ = apply(every_layer(), [ClusterWeights(4)], 0)
    first = layer_weights(clustered)[0]
    noise = np.random.default_rng(0).normal(0, 0.01, first.content.shape)
    changed = ir.tensor((first.content + noise).astype(np.float32), name=first.constant)
    clustered.graph.initializers[first.constant].const_value = changed
    with pytest.raises(InvalidInputError, match="not those of their code book"):
        code_books(clustered)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    values=hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1, 1)).filter(np.any),
    k=st.integers(2, 20),
)
def test_centres_are_means_of_what_is_nearest_and_the_ends_mirror_each_other(values, k):
    mass = np.linspace(1, 2, values.size)
    centres = k_means(values, mass, k)
    assert centres.size <= k
    assert (np.diff(centres) > 0).all()
    assert centres[0] == -centres[-1]
    assert centres[-1] <= np.abs(values).max() + 1e-12
    index = nearest(values, centres)
    distances = np.abs(values[:, None] - centres)
    np.testing.assert_allclose(np.abs(values - centres[index]), distances.min(axis=1), atol=1e-15)
    for inner in range(1, centres.size - 1):
        if (members := index == inner).any():
            assert centres[inner] == pytest.approx(np.average(values[members], weights=mass[members]), abs=1e-9)


def test_values_that_are_few_are_met_exactly():
    values = np.random.default_rng(0).choice([-1.0, -0.25, 0.5, 1.0], 1000)
    centres = k_means(values, np.ones(values.size), 16)
    np.testing.assert_allclose(centres[nearest(values, centres)], values, atol=1e-12)


@pytest.mark.parametrize("k", [-1, 0, 1, 2, 257])
def test_code_books_of_no_sense_are_refused(k):
    with pytest.raises(UsageError, match="from 3 to 256"):
        ClusterWeights(k)
