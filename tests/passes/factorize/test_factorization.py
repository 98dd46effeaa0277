"""The pass: a share of the MACs goes, ranks that the weights never had cost nothing, and the fit helps."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core import events
from edgekit.core.errors import DefectError, InvalidInputError, UsageError
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.contract import apply
from edgekit.passes.factorize.factorization import Factorize
from edgekit.passes.factorize.splitting import Splittable, splittable
from tests.passes.prune.networks import Network, build


def _convolutions(channels: int = 16) -> Model:
    net = Network(0, channels=3)
    for _ in range(3):
        net.x, net.channels = net.add("Relu", [net.conv(net.x, net.channels, channels)]), channels
    return net.model()


def _error(model: Model, other: Model) -> float:
    feeds = probe(model, 7, 64)
    pairs = zip(run(model, feeds).values(), run(other, feeds).values(), strict=True)
    return float(sum(((a - b) ** 2).sum() for a, b in pairs))


def test_half_of_the_macs_go():
    model = _convolutions()
    factorize = Factorize(0.5, probe(model, 0, 64), multiple=4)
    thin, (record,) = apply(model, [factorize], 0)
    assert model_cost(thin).macs / model_cost(model).macs == pytest.approx(0.5, abs=0.03)
    assert record.fired == sum(layer.rank > 0 for layer in factorize.ranked) > 0
    assert all(layer.rank % factorize.multiple == 0 for layer in factorize.ranked)
    assert (thin.inputs, thin.outputs) == (model.inputs, model.outputs)


@pytest.mark.parametrize("fitted", [True, False])
def test_ranks_that_the_weights_never_had_cost_nothing(fitted):
    model = _convolutions()
    ranks = []
    for layer in splittable(model):
        rank = min(6, layer.most)
        left, values, right = np.linalg.svd(layer.matrix, full_matrices=False)
        layer.join(model.graph, left[:, :rank] * values[:rank], right[:rank])
        ranks.append(rank)
    thin, _ = apply(model, [Factorize(ranks, probe(model, 0, 64) if fitted else {})], 0)
    fresh = probe(model, 1, 16)
    assert len(list(thin.graph)) > len(list(model.graph))
    assert max_relative(run(thin, fresh), run(model, fresh)) < 1e-3


def test_samples_show_which_directions_count_and_what_is_left_takes_over():
    """On samples that it has not seen."""
    model = build(["plain", "residual", "plain"], 3)
    by_weights, by_samples = Factorize(0.4, {}), Factorize(0.4, probe(model, 0, 128))
    blind, _ = apply(model, [by_weights], 0)
    seeing, _ = apply(model, [by_samples], 0)
    assert _error(model, seeing) < 0.5 * _error(model, blind)


def test_layer_by_layer_it_says_how_far_it_is():
    model = _convolutions()
    heard: list[events.Event] = []
    with events.listening(heard.append):
        apply(model, [Factorize(0.5, probe(model, 0, 16))], 0)
    fractions = [event.fraction for event in heard]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.5 < fractions[-1] < 1
    assert {event.text for event in heard} >= {f"decomposing {layer.name}" for layer in splittable(model)}


def test_the_same_ranks_give_the_same_network():
    model = _convolutions()
    samples = probe(model, 0, 64)
    first = Factorize(0.5, samples, multiple=4)
    chosen, _ = apply(model, [first], 0)
    again, _ = apply(model, [Factorize([layer.rank for layer in first.ranked], samples)], 0)
    assert again.digest == chosen.digest


def test_a_split_that_is_none_is_found(monkeypatch):
    model = _convolutions()
    split = Splittable.split

    def wrong(self, graph, first, second):
        split(self, graph, first, 1.01 * second)

    monkeypatch.setattr(Splittable, "split", wrong)
    with pytest.raises(DefectError, match="took more than ranks"):
        apply(model, [Factorize(0.5, probe(model, 0, 8))], 0)


def test_weights_that_are_no_numbers_are_an_error():
    model = _convolutions()
    value = model.graph.initializers["w0"]
    value.const_value = ir.tensor(np.full((16, 3, 3, 3), np.nan, np.float32), name="w0")
    with pytest.raises(InvalidInputError, match="no numbers"):
        apply(model, [Factorize(0.5, probe(model, 0, 8))], 0)


def test_a_network_without_such_layers_is_an_error():
    net = Network(0, channels=1)
    with pytest.raises(InvalidInputError, match="nothing to factorize"):
        apply(net.model(), [Factorize(0.5, {})], 0)


def test_a_ratio_that_is_no_share_is_an_error():
    with pytest.raises(UsageError, match="between 0 and 1"):
        apply(_convolutions(), [Factorize(1.5, {})], 0)
