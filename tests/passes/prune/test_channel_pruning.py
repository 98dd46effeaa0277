"""The pass under the contract: it prunes what was asked for, and a removal that breaks the network is caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.errors import DefectError, InvalidInputError, UsageError
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.contract import apply
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.prune.removal import remove_channels
from edgekit.passes.prune.schedule import TOLERANCE, Schedule
from tests.passes.prune.networks import BLOCKS, build

# Blocks without one that freezes: half of the MACs can always go.
_BLOCKS = sorted(set(BLOCKS) - {"unknown", "layer_norm", "dense", "attention"})


@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("schedule", Schedule)
def test_it_prunes_under_the_contract(schedule: Schedule, *, compensated: bool) -> None:
    model = build(["plain", "residual", "squeeze_excite", "concat", "plain", "depthwise", "plain"], 3)
    each = PruneChannels(0.5, Evidence(probe(model, 0, 16)), schedule=schedule, compensated=compensated)
    pruned, (record,) = apply(model, [each], 0)
    assert each.choice is not None
    assert record.fired == each.choice.removed.size > 0
    assert abs(model_cost(pruned).macs / model_cost(model).macs - 0.5) <= TOLERANCE
    assert (pruned.inputs, pruned.outputs) == (model.inputs, model.outputs)


def test_the_same_seed_prunes_the_same() -> None:
    model = build(_BLOCKS, 1)
    digests = set()
    for _ in range(2):
        evidence = Evidence(probe(model, 0, 16), seed=3)
        pruned, _ = apply(model, [PruneChannels(0.4, evidence, measure="random")], 0)
        digests.add(pruned.digest)
    assert len(digests) == 1


def test_compensation_brings_the_answers_nearer() -> None:
    model = build(["plain", "residual", "concat", "plain", "plain"], 3)
    evidence, fresh = Evidence(probe(model, 0, 128)), probe(model, 9, 32)
    differences = []
    for compensated in (False, True):
        pruned, _ = apply(model, [PruneChannels(0.3, evidence, compensated=compensated)], 0)
        differences.append(max_relative(run(pruned, fresh), run(model, fresh)))
    assert differences[1] < 0.8 * differences[0]


def test_a_removal_that_breaks_the_network_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid network in which a bias went to the wrong channels: it differs from the masked one."""

    def shuffled(*arguments: Any) -> Model:
        pruned = remove_channels(*arguments)
        bias = pruned.graph.initializers["w1"]
        assert bias.const_value is not None
        bias.const_value = ir.tensor(np.ascontiguousarray(bias.const_value.numpy()[::-1]), name="w1")
        return pruned

    monkeypatch.setattr("edgekit.passes.prune.channel_pruning.remove_channels", shuffled)
    with pytest.raises(DefectError, match="took more than channels"):
        apply(build(["plain"], 0), [PruneChannels(0.5, Evidence())], 0)


def test_what_can_not_be_pruned_reaches_the_user_as_it_is() -> None:
    with pytest.raises(InvalidInputError, match="nothing to prune here"):
        apply(build(["unknown"], 0), [PruneChannels(0.5, Evidence())], 0)
    for whole in (1.0, 1):
        with pytest.raises(UsageError, match="between 0 and 1"):
            apply(build([], 0), [PruneChannels(whole, Evidence())], 0)
    with pytest.raises(UsageError, match="no importance"):
        apply(build([], 0), [PruneChannels(0.5, Evidence(), measure="tailor")], 0)
