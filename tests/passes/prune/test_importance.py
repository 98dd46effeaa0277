"""Each measure finds a channel that does nothing; those with samples see more than the weights say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.model import Model
from edgekit.ir.run import probe, run
from edgekit.passes.prune.dependencies import Dependencies, analyse
from edgekit.passes.prune.importance import Evidence, importance, importances
from tests.passes.prune.networks import Network, build, networks

IDLE = 3  # the channel that does nothing


def network() -> Model:
    """Two convolutions, the first normalised and rectified, and a classifier."""
    net = Network(0, channels=3)
    made = net.conv(net.x, 3, 8)
    made = net.add("BatchNormalization", [made, net.ones(8), net.weights(8), net.weights(8), net.ones(8)])
    net.x = net.add("Relu", [made])
    net.x, net.channels = net.add("Relu", [net.conv(net.x, 8, 6)]), 6
    return net.model()


def change(model: Model, name: str, index: Any, to: float) -> None:
    value = model.graph.initializers[name]
    assert value.const_value is not None
    content = value.const_value.numpy().copy()
    content[index] = to
    value.const_value = ir.tensor(content, name=name)


def scores(name: str, model: Model, **targets: np.ndarray) -> tuple[Dependencies, tuple[np.ndarray, ...]]:
    dependencies = analyse(model)
    evidence = Evidence(probe(model, 0, 24), targets, seed=7)
    return dependencies, importance(name)(model, dependencies, evidence)


def test_the_measures_are_found_by_name() -> None:
    assert importances() == ("activations", "batch-norm", "l1", "l2", "random", "taylor")
    with pytest.raises(UsageError, match="no importance tailor") as caught:
        importance("tailor")
    assert "Did you mean taylor?" in caught.value.remedy


@pytest.mark.parametrize("name", [name for name in importances() if name != "random"])
def test_a_channel_that_does_nothing_matters_least(name: str) -> None:
    model = network()
    for made in ("w0", "w1", "w2", "w3"):  # its filter and bias, its scale and shift
        change(model, made, IDLE, 0)
    change(model, "w6", (slice(None), IDLE), 0)  # what reads it
    _, (first, second) = scores(name, model)
    assert first.argmin() == IDLE
    assert first[IDLE] == 0
    assert (first.shape, second.shape) == ((8,), (6,))
    assert (np.delete(first, IDLE) > 0).all()


@pytest.mark.parametrize("name", ["activations", "taylor"])
def test_samples_show_that_a_channel_with_large_weights_is_never_active(name: str) -> None:
    model = network()
    change(model, "w3", IDLE, -1e3)  # the shift in front of the Relu
    _, (measured, _) = scores(name, model)
    _, (by_weights, _) = scores("l2", model)
    assert measured.argmin() == IDLE
    assert measured[IDLE] == 0
    assert by_weights[IDLE] > 0


@pytest.mark.parametrize("name", importances())
def test_a_measure_repeats(name: str) -> None:
    for first, again in zip(scores(name, network())[1], scores(name, network())[1], strict=True):
        np.testing.assert_array_equal(first, again)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks)
def test_every_channel_of_any_network_gets_a_figure(model: Model) -> None:
    for name in ("l1", "l2", "random", "activations"):
        dependencies, found = scores(name, model)
        assert [each.shape for each in found] == [(group.size,) for group in dependencies.groups]
        assert all(np.isfinite(each).all() and (each >= 0).all() for each in found)


def test_taylor_is_the_derivative_of_the_loss() -> None:
    """Against the difference quotient for each channel: what reads it a little smaller."""
    model = network()
    labels = np.arange(16) % 5
    feeds = probe(model, 0, 16)  # one batch
    output = model.outputs[0].name
    dependencies = analyse(model)
    found = importance("taylor")(model, dependencies, Evidence(feeds, {output: labels}))[0]

    def loss(channel: int, factor: float) -> float:
        copy = model.clone()
        value = copy.graph.initializers["w6"]
        assert value.const_value is not None
        content = value.const_value.numpy().copy()
        content[:, channel] *= factor
        value.const_value = ir.tensor(content, name="w6")
        logits = run(copy, feeds)[output].astype(np.float64)
        return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(16), labels]).mean())

    step = 1e-3  # small, so that hardly any Relu changes its mind; the rest is float32
    expected = [abs(loss(channel, 1 + step) - loss(channel, 1 - step)) / (2 * step) for channel in range(8)]
    np.testing.assert_allclose(np.sqrt(found), expected, rtol=0.02, atol=2e-4)


def test_labels_change_what_taylor_says() -> None:
    model = network()
    output = model.outputs[0].name
    _, own = scores("taylor", model)
    _, labelled = scores("taylor", model, **{output: np.arange(24) % 5})
    assert not np.allclose(own[0], labelled[0])


@pytest.mark.parametrize("name", ["activations", "taylor"])
def test_without_samples_what_needs_them_says_so(name: str) -> None:
    model = network()
    with pytest.raises(UsageError, match="calibration samples") as caught:
        importance(name)(model, analyse(model), Evidence())
    assert "Give data" in caught.value.remedy


def test_batch_norm_without_one_says_what_to_take() -> None:
    model = build(["plain"], 0)
    with pytest.raises(InvalidInputError, match="no scales to rank by") as caught:
        importance("batch-norm")(model, analyse(model), Evidence())
    assert "another importance: l2" in caught.value.remedy
