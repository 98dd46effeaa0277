"""The dependency solver against its definition: without its channels a network answers as with them masked."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.prune.dependencies import Dependencies, analyse
from edgekit.passes.prune.removal import mask_channels, remove_channels
from tests.passes.prune.networks import BLOCKS, Network, build, networks

TOLERANCE = 1e-5


def some_of(dependencies: Dependencies, shares: list[float], seed: int) -> np.ndarray:
    """Of each group a share of the channels, but never all."""
    random = np.random.default_rng(seed)
    chosen = [
        random.permutation(group.roots)[: min(int(share * group.size), group.size - 1)]
        for group, share in zip(dependencies.groups, shares, strict=False)
    ]
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def check(model: Model, removed: np.ndarray, dependencies: Dependencies) -> Model:
    pruned = remove_channels(model, dependencies, removed)
    ir.passes.common.ShapeInferencePass(check_type=True, strict_mode=True)(pruned.proto.clone())
    assert (pruned.inputs, pruned.outputs) == (model.inputs, model.outputs)
    feeds = probe(model, 0, 2)
    assert max_relative(run(pruned, feeds), run(mask_channels(model, dependencies, removed), feeds)) <= TOLERANCE
    return pruned


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks, st.lists(st.floats(0, 1), min_size=40, max_size=40), st.integers(0, 99))
def test_pruned_is_masked(model: Model, shares: list[float], seed: int) -> None:
    dependencies = analyse(model)
    check(model, some_of(dependencies, shares, seed), dependencies)


@pytest.mark.parametrize("block", sorted(set(BLOCKS) - {"unknown", "layer_norm"}))
def test_every_kind_of_block_shrinks(block: str) -> None:
    """Nothing in these freezes more than it must: half of the channels take more than half of the MACs."""
    model = build(["plain", block, "plain"], 1)
    dependencies = analyse(model)
    pruned = check(model, some_of(dependencies, [0.5] * 40, 0), dependencies)
    assert model_cost(pruned).macs < 0.75 * model_cost(model).macs


def test_an_operator_without_a_rule_freezes_what_touches_it_and_says_so() -> None:
    dependencies = analyse(build(["unknown"], 0))
    assert not dependencies.groups
    assert dependencies.frozen == {
        "conv0": "lrn2 (LRN) has no channel rule",
        "gemm5": "they are the model's output t5_0",
    }


def test_what_a_graph_inside_an_operator_reads_is_frozen() -> None:
    """A branch of an If reads values of the graph around it, which are not among its inputs."""
    net = Network(0, channels=3)
    net.x, net.channels = net.conv(net.x, 3, 4), 4
    model = net.model()
    assert len(analyse(model).groups) == 1
    made = next(iter(model.graph)).outputs[0]
    branch = ir.Graph([], [ir.val("inner", shape=made.shape)], nodes=[ir.node("Relu", [made], name="inside")])
    condition = ir.val("condition", const_value=ir.tensor([True], name="condition"))
    model.graph.register_initializer(condition)
    branches = {"then_branch": branch}
    model.graph.append(
        ir.node("If", [condition], branches, name="either", outputs=[ir.val("either", shape=made.shape)])
    )
    assert analyse(model).frozen["conv0"] == "either (If) has no channel rule"


def test_an_explanation_tells_the_chain_from_member_to_member() -> None:
    dependencies = analyse(build(["batch_norm", "residual"], 0))
    lines = dependencies.details(dependencies.groups[0])
    assert lines[0] == "conv0, axis 0 of w0"
    assert "conv0, axis 0 of w1: because of conv0, axis 0 of w0, by conv0" in lines
    assert all(": because of " in line and ", by " in line for line in lines[1:])
    told = {line.partition(":")[0] for line in lines}
    assert told == {str(member) for member in dependencies.groups[0].members}


def test_channels_that_are_split_off_are_a_group_of_their_own() -> None:
    """Both halves have the same readers behind the concatenation, but neither half may become empty."""
    net = Network(0, channels=3)
    made = net.conv(net.x, 3, 8)
    left, right = net.add("Split", [made, net.integers([4, 4])], outputs=2, axis=1)
    net.x, net.channels = net.add("Concat", [net.add("Relu", [right]), left], axis=1), 8
    assert [group.size for group in analyse(net.model()).groups] == [4, 4]


def test_space_under_an_instance_normalization_stays() -> None:
    """Its mean is over all places, so that none of them can go, though a dense layer made them."""
    net = Network(0, channels=3)
    flat = net.add("Flatten", [net.x])
    wide = net.add("MatMul", [flat, net.weights(3 * 64, 64)])
    space = net.add("Reshape", [wide, net.integers([-1, 1, 64, 1])])
    net.x = net.add("InstanceNormalization", [space, net.ones(1), net.weights(1)])
    net.channels = 1
    frozen = analyse(net.model()).frozen
    assert frozen["matmul1"] == "instancenormalization3 (InstanceNormalization) takes the mean over them"
