"""The choice of channels: the MACs are what was asked for, every group keeps something, and what can't be says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.passes.prune.costs import costs
from edgekit.passes.prune.dependencies import analyse
from edgekit.passes.prune.importance import Evidence, importance
from edgekit.passes.prune.removal import remove_channels
from edgekit.passes.prune.schedule import TOLERANCE, Schedule, choose
from tests.passes.prune.networks import BLOCKS, Network, build, chain, networks

NOTHING = Evidence()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks, st.floats(0.05, 0.7), st.sampled_from(Schedule), st.sampled_from([1, 4, 8]), st.integers(0, 99))
def test_what_is_chosen_costs_what_was_asked_for(
    model: Model, ratio: float, schedule: Schedule, multiple: int, seed: int
) -> None:
    dependencies = analyse(model)
    scores = importance("random")(model, dependencies, Evidence(seed=seed))
    try:
        choice = choose(model, dependencies, scores, ratio, schedule=schedule, multiple=multiple)
    except InvalidInputError:
        # Rightly so: not that much can go, or a single channel is more than the tolerance on both sides.
        full, macs = np.array([group.size for group in dependencies.groups], np.int64), costs(model, dependencies).macs
        steps = [macs(full) - macs(full - row) for row in np.eye(full.size, dtype=np.int64) if (full > row).all()]
        target = (1 - ratio) * macs()
        assert macs(np.ones_like(full)) > target or max(steps, default=0) > 2 * TOLERANCE * macs()
        return
    before, after = model_cost(model), model_cost(remove_channels(model, dependencies, choice.removed))
    assert abs(after.macs / before.macs - (1 - ratio)) <= TOLERANCE + 1e-9
    assert after.macs / before.macs == pytest.approx(choice.macs)
    assert after.params == round(costs(model, dependencies).params(np.array(choice.kept)))
    assert min(choice.kept) >= 1


@pytest.mark.parametrize("block", sorted(set(BLOCKS) - {"unknown", "layer_norm"}))
def test_costs_are_those_of_the_pruned_network(block: str) -> None:
    model = build(["plain", block, "plain"], 1)
    dependencies = analyse(model)
    kept = np.array([max(group.size // 2, 1) for group in dependencies.groups])
    removed = np.concatenate([group.roots[left:] for group, left in zip(dependencies.groups, kept, strict=True)])
    expected = costs(model, dependencies)
    found = model_cost(remove_channels(model, dependencies, removed))
    assert (expected.macs(kept), expected.params(kept)) == pytest.approx((found.macs, found.params))
    dense = model_cost(model)
    assert (expected.macs(), expected.params()) == pytest.approx((dense.macs, dense.params))


@pytest.mark.parametrize("schedule", Schedule)
def test_groups_keep_the_multiple_and_lose_the_least_important(schedule: Schedule) -> None:
    model = chain(9, width=64)
    dependencies = analyse(model)
    scores = importance("l1")(model, dependencies, NOTHING)
    choice = choose(model, dependencies, scores, 0.5, schedule=schedule, multiple=8)
    assert choice.multiple == 8
    assert all(kept % 8 == 0 for kept in choice.kept)
    gone = set(choice.removed.tolist())
    for group, score in zip(dependencies.groups, scores, strict=True):
        away = np.isin(group.roots, list(gone))
        assert not away.any() or score[away].max() <= score[~away].min()


def test_uniform_takes_the_same_share_of_every_group() -> None:
    model = chain(9, width=64)
    dependencies = analyse(model)
    scores = importance("l1")(model, dependencies, NOTHING)
    kept = choose(model, dependencies, scores, 0.5, schedule=Schedule.UNIFORM).kept
    assert max(kept) - min(kept) <= 1
    ranked = choose(model, dependencies, scores, 0.5, schedule=Schedule.GLOBAL).kept
    assert max(ranked) - min(ranked) > 1


def test_capacity_keeps_the_most_weights_and_no_smaller_share_of_a_group_than_of_the_macs() -> None:
    """A convolution's weight has a MAC for each place of the image, a dense layer's has one."""
    model = build(["plain", "dense", "plain"], 0)
    dependencies = analyse(model)
    scores, cost = importance("l1")(model, dependencies, NOTHING), costs(model, dependencies)
    kept = {
        schedule: np.array(choose(model, dependencies, scores, 0.4, schedule=schedule).kept) for schedule in Schedule
    }
    weights = {schedule: cost.params(left) for schedule, left in kept.items()}
    assert weights[Schedule.CAPACITY] > max(weights[Schedule.UNIFORM], weights[Schedule.GLOBAL])
    shares = kept[Schedule.CAPACITY] / [group.size for group in dependencies.groups]
    assert shares.min() >= 0.6


def test_a_multiple_that_misses_the_target_is_halved() -> None:
    model = build(["plain", "plain"], 0)
    dependencies = analyse(model)
    choice = choose(model, dependencies, importance("l1")(model, dependencies, NOTHING), 0.5, multiple=16)
    assert choice.multiple < 16
    assert abs(choice.macs - 0.5) <= TOLERANCE


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_a_ratio_that_is_no_share_is_a_usage_error(ratio: float) -> None:
    model = build([], 0)
    dependencies = analyse(model)
    with pytest.raises(UsageError, match="between 0 and 1") as caught:
        choose(model, dependencies, importance("l1")(model, dependencies, NOTHING), ratio)
    assert "0.5" in caught.value.remedy


def test_nothing_to_prune_says_why() -> None:
    model = build(["unknown"], 0)
    dependencies = analyse(model)
    with pytest.raises(InvalidInputError, match=r"nothing to prune here.*conv0 stays because lrn2 \(LRN\) has no chan"):
        choose(model, dependencies, (), 0.5)


def test_a_group_of_one_channel_cannot_shrink() -> None:
    net = Network(0, channels=3)
    net.x, net.channels = net.conv(net.x, 3, 1), 1
    model = net.model()
    dependencies = analyse(model)
    with pytest.raises(InvalidInputError, match="nothing to prune here"):
        choose(model, dependencies, tuple(np.ones(group.size) for group in dependencies.groups), 0.5)


def test_more_than_can_go_is_refused_with_what_can() -> None:
    """The first block stays because of the operator without a rule; the second can't make up for it."""
    net = Network(0, channels=3)
    net.x, net.channels = net.conv(net.x, 3, 16), 16
    net.x = net.add("LRN", [net.x], size=3)
    net.x, net.channels = net.conv(net.x, 16, 4, kernel=1), 4
    model = net.model()
    dependencies = analyse(model)
    scores = importance("l1")(model, dependencies, NOTHING)
    with pytest.raises(InvalidInputError, match=r"at most 0\.\d+ of the MACs can go here, not 0.9") as caught:
        choose(model, dependencies, scores, 0.9)
    possible = float(caught.value.remedy.split("like --prune ")[1].split(";")[0])
    assert choose(model, dependencies, scores, possible).kept == (1,)
