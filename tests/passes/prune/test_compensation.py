"""Compensation gives back what the channels that are left can say about those that went."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.prune.compensation import compensate
from edgekit.passes.prune.dependencies import analyse
from edgekit.passes.prune.removal import remove_channels
from tests.passes.prune.networks import Network, build, networks


def doubled(kernel: int) -> Model:
    """A network where channel 1 is twice channel 0 plus channel 2, and a layer with this window reads them."""
    net = Network(0, channels=3)
    net.x, net.channels = net.conv(net.x, 3, 4), 4
    net.x, net.channels = net.conv(net.x, 4, 6, kernel=kernel), 6
    model = net.model()
    for name in ("w0", "w1"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        content = value.const_value.numpy().copy()
        content[1] = 2 * content[0] + content[2]
        value.const_value = ir.tensor(content, name=name)
    return model


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_channel_that_others_make_up_for_costs_nothing(kernel: int) -> None:
    model = doubled(kernel)
    dependencies, feeds = analyse(model), probe(model, 0, 40)
    removed = dependencies.groups[0].roots[1:2]
    pruned = remove_channels(model, dependencies, removed)
    assert max_relative(run(pruned, feeds), run(model, feeds)) > 0.1
    assert compensate(model, pruned, dependencies, removed, feeds) == 1
    fresh = probe(model, 1, 8)
    assert max_relative(run(pruned, fresh), run(model, fresh)) < 0.01  # the ridge


def test_later_layers_make_up_for_what_earlier_ones_lost() -> None:
    """Every layer that lost inputs is nearer to the dense network, on samples that it has not seen."""
    model = build(["plain", "residual", "channels_last", "plain"], 3)
    dependencies = analyse(model)
    removed = np.concatenate([group.roots[: group.size // 4 + 1] for group in dependencies.groups if group.size > 2])
    pruned = remove_channels(model, dependencies, removed)
    fresh = probe(model, 5, 32)
    dense = run(model, fresh)
    output = next(iter(dense))

    def error() -> float:
        return float(np.square(run(pruned, fresh)[output] - dense[output]).mean())

    before = error()
    assert compensate(model, pruned, dependencies, removed, probe(model, 0, 128)) >= 3
    assert error() < 0.5 * before


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks, st.integers(0, 99))
def test_any_network_can_be_compensated(model: Model, seed: int) -> None:
    """Shapes stay those of the pruned network, and it still runs."""
    dependencies, random = analyse(model), np.random.default_rng(seed)
    halves = [random.permutation(group.roots)[: group.size // 2] for group in dependencies.groups]
    removed = np.concatenate([np.zeros(0, np.int64), *halves])
    pruned = remove_channels(model, dependencies, removed)
    shapes = {name: tuple(value.shape or ()) for name, value in pruned.graph.initializers.items()}
    compensate(model, pruned, dependencies, removed, probe(model, 0, 4))
    for name, value in pruned.graph.initializers.items():
        assert value.const_value is not None
        assert value.const_value.numpy().shape == shapes[name]
    answers = run(pruned, probe(model, 1, 2))
    assert all(np.isfinite(answer).all() for answer in answers.values())


def test_weights_of_a_grouped_convolution_stay() -> None:
    model = build(["grouped"], 0)
    dependencies = analyse(model)
    removed = np.concatenate([group.roots[:1] for group in dependencies.groups])
    pruned = remove_channels(model, dependencies, removed)
    grouped = next(node for node in pruned.graph if node.attributes.get_int("group", 1) > 1).inputs[1]
    assert grouped is not None
    assert grouped.const_value is not None
    before = grouped.const_value.numpy().copy()
    compensate(model, pruned, dependencies, removed, probe(model, 0, 8))
    np.testing.assert_array_equal(grouped.const_value.numpy(), before)


def test_a_network_that_takes_one_sample_at_a_time_is_compensated_like_any_other() -> None:
    """So do those that carry state, with a state of several axes in front of the batch."""
    free = build(["plain", "residual", "plain"], 3)
    fixed = free.clone()
    one = fixed.graph.inputs[0]
    assert one.shape is not None
    one.shape = ir.Shape([1, *list(one.shape)[1:]])
    feeds, weights = probe(free, 0, 20), []
    for model, samples in (
        (free, feeds),
        (fixed, feeds),
        (fixed, {key: value[:, None] for key, value in feeds.items()}),
    ):
        dependencies = analyse(model)
        removed = np.concatenate([group.roots[:1] for group in dependencies.groups])
        pruned = remove_channels(model, dependencies, removed)
        compensate(model, pruned, dependencies, removed, samples)
        constants = pruned.graph.initializers
        weights.append([constants[name].const_value.numpy() for name in sorted(constants)])  # type: ignore[union-attr]
    for found, again, whole in zip(*weights, strict=True):
        np.testing.assert_allclose(again, found, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(whole, found, rtol=1e-3, atol=1e-4)
