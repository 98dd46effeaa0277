"""Builds that prune to a speed-up: real clocks choose, so nothing here asks how fast anything was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import UsageError
from edgekit.core.recipe_file import load_recipe
from edgekit.pipeline import child
from edgekit.pipeline.build import build
from edgekit.pipeline.targets import load_target
from edgekit.report.build_report import TargetReport
from edgekit.report.gates import SPEEDUP_TOLERANCE
from tests.passes.prune.networks import chain

TARGET = "intel-cpu"
FLAGS: Any = {"shrink": {"speedup": 1.3}, "precision": {"precision": "fp32"}, "data": {"none": True}}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough that its convolutions take nearly all of its time."""
    path = tmp_path_factory.mktemp("network") / "chain.onnx"
    chain(3, width=64).save(path)
    return path


@pytest.fixture(scope="module")
def pruned(network: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TargetReport]:
    out = tmp_path_factory.mktemp("pruned") / "out"
    (report,) = build(str(network), [TARGET], flags=FLAGS, out=out).targets
    return out, report


def test_the_report_says_what_was_asked_predicted_and_measured(pruned):
    _, target = pruned
    assert target.error is None
    assert target.pruned.speedup == 1.3
    assert target.pruned.predicted > 1
    gate = next(gate for gate in target.gates if gate.name == "pruned-speedup")
    assert gate.limit == 1.3
    assert gate.asked
    assert gate.value == 1 / target.pruned.dense_ratio
    assert gate.passed is (gate.value >= 1.3 * (1 - SPEEDUP_TOLERANCE))


def test_channels_are_multiples_of_what_the_target_likes(pruned):
    _, target = pruned
    assert target.pruned.groups
    assert load_target(TARGET).channel_multiple % target.pruned.multiple == 0
    assert all(group["kept"] % target.pruned.multiple == 0 for group in target.pruned.groups)


def test_the_lock_repeats_the_same_bytes_and_times_no_layer(pruned, network, tmp_path, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.setenv("EDGEKIT_CACHE", str(store))
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(pruned[0] / "edgekit.lock", out)
    again: Any = build(str(network), [TARGET], flags=FLAGS, out=out).targets[0]
    assert not (store / "layer-times").exists()
    before = pruned[1]
    assert again.pruned.groups == before.pruned.groups
    assert again.pruned.predicted == before.pruned.predicted
    for name in (*before.files, "golden.npz", "manifest.json"):
        assert (out / TARGET / name).read_bytes() == (pruned[0] / TARGET / name).read_bytes()


def test_the_manifest_names_what_was_asked_and_no_clock(pruned):
    manifest = json.loads((pruned[0] / TARGET / "manifest.json").read_text())
    assert manifest["pruned"]["speedup"] == 1.3
    assert not {"predicted", "dense_ratio"} & set(manifest["pruned"])


def test_every_layer_has_probes_in_the_precision_that_is_shipped(tmp_path):
    source = tmp_path / "model.onnx"
    chain(2, width=16).save(source)
    request = {"backend": "tflite", "precision": "int8", "multiple": 8, "batch": 1, "options": []}
    answer = child.call(
        "edgekit.pipeline.probing:compile_probes",
        {**request, "source": str(source), "out": str(tmp_path)},
        what="compiling layers",
        blame="edgekit",
    )
    idle, *probes = answer["artifacts"]
    assert {number for grid in answer["grids"].values() for number in grid["probes"]} == set(range(len(probes)))
    assert idle["plan"]["default"] == "fp32"
    for probe in probes:
        assert probe["plan"]["default"] == "int8"
        assert (tmp_path / probe["files"][0]).is_file()


@pytest.mark.parametrize("speedup", [1.0, 0.5, -2.0, float("nan"), float("inf")])
def test_what_is_no_speedup_is_refused_before_any_work(speedup):
    with pytest.raises(UsageError, match="no speed-up"):
        load_recipe(None, {"shrink": {"speedup": speedup}})


@pytest.mark.parametrize("other", [{"prune": 0.5}, {"schedule": "global"}])
def test_a_speedup_goes_with_no_other_amount_and_no_schedule(other):
    with pytest.raises(UsageError, match="speed"):
        load_recipe(None, {"shrink": {"speedup": 2.0, **other}})


def test_a_flag_that_says_how_much_replaces_the_one_of_the_recipe(tmp_path):
    recipe = tmp_path / "edgekit.toml"
    recipe.write_text('[shrink]\nprune = 0.5\nschedule = "global"\nimportance = "l1"\n')
    shrink = load_recipe(recipe, {"shrink": {"speedup": 2.0}}).shrink
    assert (shrink.prune, shrink.speedup, shrink.importance) == (None, 2.0, "l1")
