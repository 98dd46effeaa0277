"""Times from tables: exact between the timed sizes, and what the hardware-aware choice is driven by."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.ir.run import probe, run
from edgekit.passes.prune.costs import costs
from edgekit.passes.prune.dependencies import Dependencies, analyse
from edgekit.passes.prune.hardware_aware import choose_in_time
from edgekit.passes.prune.importance import Evidence, Scores, importance
from edgekit.passes.prune.layers import layers, name_of
from edgekit.passes.prune.probes import COPIES, Grid, idle_network, probes
from edgekit.passes.prune.removal import remove_channels
from edgekit.passes.prune.request import LayerTimes, TimeTable
from edgekit.passes.prune.schedule import TOLERANCE
from edgekit.passes.prune.times import Clock, Surface, Times
from tests.passes.prune.networks import BLOCKS, build, chain, networks

IDLE = 1e-3


def measured(model: Model, dependencies: Dependencies, seconds: dict[str, float] | None = None) -> LayerTimes:
    """As if a second were a product of sizes, times what `seconds` says of a layer; nothing but layers takes time."""
    _, grids = probes(model, dependencies, 1)
    tables = tuple(
        (name, TimeTable(grid.sizes, tuple(_product(name, grid, seconds or {})))) for name, grid in grids.items()
    )
    return LayerTimes(tables, IDLE, IDLE + sum(table.seconds[-1] for _, table in tables))


def _product(name: str, grid: Grid, seconds: dict[str, float]) -> list[float]:
    return [seconds.get(name, 1e-6) * float(np.prod(sizes)) for sizes in itertools.product(*grid.sizes)]


def scores(model: Model, dependencies: Dependencies) -> Scores:
    return importance("l1")(model, dependencies, Evidence())


def test_a_surface_is_exact_between_sizes_and_level_outside_of_them():
    surface = Surface(TimeTable(((8, 16), (4, 8, 16)), (1.0, 2.0, 4.0, 2.0, 4.0, 8.0)))
    assert surface((8, 4)) == 1.0
    assert surface((16, 16)) == surface.largest == 8.0
    assert surface((12, 6)) == pytest.approx(12 / 8 * 6 / 4)
    assert surface((2, 2)) == 1.0


def test_a_surface_never_falls_with_a_size():
    noisy = Surface(TimeTable(((8, 16, 32),), (2.0, 1.5, 3.0)))
    assert [noisy((size,)) for size in (8, 16, 24, 32)] == [2.0, 2.0, 2.5, 3.0]


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks, st.floats(0.3, 0.9))
def test_times_are_those_of_the_pruned_network(model: Model, share: float) -> None:
    """What is said of a pruned network was said of that many channels before, and the savings of steps add up to it."""
    dependencies = analyse(model)
    dense = measured(model, dependencies)
    clock = Clock.of(model, LayerTimes(dense.tables, dense.idle, 2 * dense.whole))
    times = Times(model, dependencies, clock)
    assert times() == pytest.approx(clock.whole)
    kept = np.array([max(int(group.size * share), 1) for group in dependencies.groups], np.int64)
    removed = np.concatenate(
        [np.zeros(0, np.int64), *(g.roots[left:] for g, left in zip(dependencies.groups, kept, strict=True))]
    )
    pruned = remove_channels(model, dependencies, removed)
    assert times(kept) == pytest.approx(Times(pruned, analyse(pruned), clock)(), rel=1e-6)
    assert sum(times.by_layer(kept).values()) == pytest.approx(times(kept))
    step, now = times.groups.copy(), times()
    for group, left in enumerate(kept.tolist()):
        now -= times.saved(step, group, left)
        step[group] = left
    assert now == pytest.approx(times(kept))


def test_layers_that_take_longer_alone_than_together_count_for_less():
    model = chain(5, width=32)
    dependencies = analyse(model)
    alone = measured(model, dependencies)
    clock = Clock.of(model, LayerTimes(alone.tables, IDLE, (alone.whole - IDLE) / 2 + IDLE))
    assert Times(model, dependencies, clock)() == pytest.approx((alone.whole - IDLE) / 2 + IDLE)


@pytest.mark.parametrize("speedup", [1.3, 2.0, 3.0])
def test_the_time_is_met_in_multiples(speedup: float) -> None:
    model = chain(9, width=64)
    dependencies = analyse(model)
    times = Times(model, dependencies, Clock.of(model, measured(model, dependencies)))
    target = times.whole / speedup
    choice = choose_in_time(model, dependencies, scores(model, dependencies), times, target, multiple=8)
    assert choice.multiple == 8
    assert all(kept % 8 == 0 for kept in choice.kept)
    assert times(np.array(choice.kept)) == pytest.approx(target, abs=TOLERANCE * times.whole)
    assert choice.macs == pytest.approx(
        costs(model, dependencies).macs(np.array(choice.kept)) / costs(model, dependencies).macs()
    )


def test_what_takes_most_of_the_time_shrinks_most():
    model = chain(6, width=64)
    dependencies = analyse(model)
    slow = [name_of(node) for node, _, _ in layers(model.graph)][1]
    times = Times(model, dependencies, Clock.of(model, measured(model, dependencies, {slow: 1e-4})))
    even = tuple(np.ones(group.size) for group in dependencies.groups)
    kept = choose_in_time(model, dependencies, even, times, times.whole / 2, multiple=8).kept
    ends = {at for at, group in enumerate(dependencies.groups) if any(m.layer == slow for m in group.members)}
    assert max(kept[at] for at in ends) < min(left for at, left in enumerate(kept) if at not in ends)


def test_what_saves_no_time_is_kept_whole():
    """A kernel that works on 32 channels at once takes as long for 8 of them."""
    model = chain(4, width=32)
    dependencies = analyse(model)
    flat = [name_of(node) for node, _, _ in layers(model.graph)][-1]
    tables = dict(measured(model, dependencies).tables)
    tables[flat] = TimeTable(tables[flat].sizes, (1e-3,) * len(tables[flat].seconds))
    whole = IDLE + sum(table.seconds[-1] for table in tables.values())
    times = Times(model, dependencies, Clock.of(model, LayerTimes(tuple(tables.items()), IDLE, whole)))
    most = times.whole / times(np.ones(len(dependencies.groups), np.int64))
    with pytest.raises(InvalidInputError, match=r"at most .*× the speed.* because .*" + flat) as caught:
        choose_in_time(model, dependencies, scores(model, dependencies), times, times.whole / (3 * most), multiple=8)
    assert "--speedup" in caught.value.remedy


def test_a_network_that_cannot_shrink_says_so():
    model = build(["unknown"], 0)
    dependencies = analyse(model)
    times = Times(model, dependencies, Clock.of(model, measured(model, dependencies)))
    with pytest.raises(InvalidInputError, match="nothing to prune here"):
        choose_in_time(model, dependencies, (), times, times.whole / 2)


@pytest.mark.parametrize("block", sorted(BLOCKS))
def test_probes_are_the_layers_at_sizes_that_they_can_have(block: str) -> None:
    model = build(["plain", block, "plain"], 1)
    dependencies = analyse(model)
    found, grids = probes(model, dependencies, 4)
    assert set(grids) == {name_of(node) for node, _, _ in layers(model.graph)}
    for node, makes, _ in layers(model.graph):
        assert makes.weights.shape is not None
        grid = grids[name_of(node)]
        dense = found[grid.probes[-1]]  # the largest sizes come last
        assert list(dense.weights) == list(makes.weights.shape.numpy())
        assert grid.sizes[0][-1] == dense.weights[makes.axis]
        assert len(grid.probes) == np.prod([len(sizes) for sizes in grid.sizes])
    for each in found:
        network = each.model()
        outputs = run(network, probe(network, 0, 2))
        assert len(outputs) == COPIES
        assert all(value.size == 2 * each.made for value in outputs.values())


def test_layers_that_are_alike_share_their_probes():
    model = chain(30, width=64)
    found, grids = probes(model, analyse(model), 8)
    assert len(grids) > 30
    assert len(found) <= 40


def test_the_idle_network_runs():
    network = idle_network()
    assert run(network, probe(network, 0, 1))
