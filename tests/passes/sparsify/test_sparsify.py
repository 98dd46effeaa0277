"""Each pattern makes zeros of what it promises, leaves the rest as it is, and says no to what can't be."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.layer_weights import LayerWeights, layer_weights
from edgekit.passes.sparsify.block import BLOCK
from edgekit.passes.sparsify.masks import masks, without_least
from edgekit.passes.sparsify.n_of_m import n_of_m
from edgekit.passes.sparsify.sparsify import PATTERNS, Sparsify
from tests.passes.prune.networks import Network
from tests.passes.sparsify.networks import every_layer


def _constants(model: Model) -> dict[str, np.ndarray]:
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items() if value.const_value}


def _zeros(model: Model) -> float:
    layers = layer_weights(model)
    return sum(int((w.content == 0).sum()) for w in layers) / sum(w.content.size for w in layers)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_share_becomes_zero_and_the_rest_stays(pattern, share):
    model = every_layer()
    sparse, (record,) = apply(model, [Sparsify(share, pattern=pattern)], 0)
    touched = {weights.constant for weights in layer_weights(model)}
    assert record.fired == len(touched) == 6
    assert _zeros(sparse) == pytest.approx(share, abs=0.01)
    before, after = _constants(model), _constants(sparse)
    assert set(masks(sparse)) == touched
    for name, content in before.items():
        expected = content * masks(sparse)[name] if name in touched else content
        np.testing.assert_array_equal(after[name], expected)


def test_depthwise_weights_biases_and_tables_that_are_read_otherwise_stay():
    net = Network(0, channels=16)
    net.x = net.conv(net.x, 16, 16, groups=16, kernel=5)
    net.x = net.conv(net.x, 16, 16, groups=1, kernel=3)
    net.x = net.add("Mul", [net.x, net.add("ReduceMean", [net.nodes[-1].input[1], net.integers([0, 1, 2, 3])])])
    assert not layer_weights(net.model())


def test_the_smallest_go():
    sparse, _ = apply(every_layer(), [Sparsify(0.5, pattern="magnitude")], 0)
    for weights in layer_weights(every_layer()):
        kept = masks(sparse)[weights.constant]
        assert np.abs(weights.content[~kept]).max() <= np.abs(weights.content[kept]).min()


def test_one_ranking_takes_more_where_the_weights_are_more_unequal_and_never_everything():
    model = every_layer()
    layers = layer_weights(model)
    equal, unequal = layers[0], layers[1]
    constants = model.graph.initializers
    constants[equal.constant].const_value = ir.tensor(np.sign(equal.content), name=equal.constant)
    constants[unequal.constant].const_value = ir.tensor(unequal.content**9, name=unequal.constant)
    sparse, _ = apply(model, [Sparsify(0.95, pattern="global")], 0)
    kept = {name: mask.mean() for name, mask in masks(sparse).items()}
    assert kept[unequal.constant] < 0.02
    assert kept[unequal.constant] < kept[equal.constant]
    assert all(share > 0 for share in kept.values())


def test_blocks_go_as_wholes():
    sparse, _ = apply(every_layer(), [Sparsify(0.5, pattern="block")], 0)
    for weights in layer_weights(sparse):
        rows = np.moveaxis(weights.content != 0, weights.made, 0)
        for begin in range(0, len(rows), BLOCK):
            some = rows[begin : begin + BLOCK]
            assert (some == some[:1]).all()


def test_zeros_stay_zero_when_more_go():
    for pattern in PATTERNS:
        half, _ = apply(every_layer(), [Sparsify(0.5, pattern=pattern)], 0)
        most, _ = apply(half, [Sparsify(0.8, pattern=pattern, seed=1)], 0)
        for name, mask in masks(half).items():
            assert not masks(most)[name][~mask].any()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    content=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9), elements=st.floats(-2, 2, width=32)
    ),
    read=st.integers(0, 1),
    pair=st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 8)]),
)  # fmt: skip
def test_n_of_m_keeps_the_n_largest_of_each_m(content, read, pair):
    kept, of = pair
    mask = n_of_m([LayerWeights("layer", "w", 1 - read, read, content)], kept, of)["w"]
    rows, sizes = np.moveaxis(mask, read, 0), np.moveaxis(np.abs(content), read, 0)
    for begin in range(0, len(rows), of):
        stays, size = rows[begin : begin + of], sizes[begin : begin + of]
        assert (stays.sum(axis=0) == min(kept, len(stays))).all()
        least = np.where(stays, size, np.inf).min(axis=0)
        assert (np.where(stays, -np.inf, size).max(axis=0) <= least).all()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    scores=hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 3)),
    share=st.floats(0.01, 0.99),
)
def test_as_many_go_as_asked_for_and_one_always_stays(scores, share):
    mask = without_least(scores, share)
    assert (~mask).sum() == min(round(share * scores.size), scores.size - 1)
    assert scores[mask].min() >= scores[~mask].max(initial=0)


def test_the_same_seed_takes_the_same():
    digests = [apply(every_layer(), [Sparsify(0.5, pattern="random", seed=seed)], 0)[0].digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("share", [0.0, 1.0, 1, -0.5, 2.0, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        Sparsify(share)


@pytest.mark.parametrize("text", ["4:2", "2:2", "0:4", "2:400", "2/4", "-1:4", ""])
def test_what_is_no_n_of_m_is_refused(text):
    with pytest.raises(UsageError, match="like 2:4"):
        Sparsify(text)


def test_an_unknown_pattern_is_refused_with_the_one_that_was_meant():
    with pytest.raises(UsageError) as caught:
        Sparsify(0.5, pattern="blocks")
    assert "Did you mean block?" in caught.value.remedy


def test_a_model_without_weights_says_so():
    net = Network(0, channels=3)
    with pytest.raises(InvalidInputError, match="no weights to make sparse"):
        apply(net.model(), [Sparsify(0.5)], 0)


def test_weights_that_are_no_numbers_are_refused():
    model = every_layer()
    first = layer_weights(model)[0]
    content = first.content.copy()
    content[0] = np.nan
    model.graph.initializers[first.constant].const_value = ir.tensor(content, name=first.constant)
    with pytest.raises(InvalidInputError, match="no numbers"):
        apply(model, [Sparsify(0.5)], 0)
