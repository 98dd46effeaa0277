"""Builds that prune: less work, judged against the original, with the choice kept in the lock."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.cli.tables import print_build
from edgekit.core.errors import UsageError
from edgekit.core.recipe import ShrinkSection
from edgekit.core.recipe_file import load_recipe
from edgekit.passes.prune.importance import importances
from edgekit.passes.prune.schedule import Schedule
from edgekit.pipeline.build import build

_TARGETS = ("raspberry-pi-4", "intel-cpu")


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("pruned") / "out"
    flags: Any = {"shrink": {"prune": 0.5}, "precision": {"precision": "int8"}}
    return out, build("digits-cnn", _TARGETS, flags=flags, out=out)


def _one(flags: Any, out: Path) -> Any:
    return build("digits-cnn", _TARGETS[:1], flags=flags, out=out).targets[0]


def test_half_of_the_macs_go_and_the_original_judges(pruned):
    _, report = pruned
    for target in report.targets:
        assert target.error is None
        assert target.pruned.macs == pytest.approx(0.5, abs=0.03)
        assert target.pruned.params < 1
        top1 = target.metrics[0]
        assert top1.name == "top1"
        assert top1.float > 99  # the unpruned float model's
        assert top1.drop < 1


def test_channels_are_multiples_of_what_the_target_likes(pruned):
    _, report = pruned
    for target, multiple in zip(report.targets, (8, 16), strict=True):
        assert target.pruned.multiple == multiple
        assert target.pruned.groups
        assert all(group["kept"] % multiple == 0 for group in target.pruned.groups)


def test_the_pruned_artifact_is_timed_beside_the_unpruned_one_of_its_precision(pruned):
    _, report = pruned
    for target in report.targets:
        gate = next(gate for gate in target.gates if gate.name == "pruned-speedup")
        assert gate.value == pytest.approx(1 / target.pruned.dense_ratio)
        assert gate.passed is (target.pruned.dense_ratio <= 1.02)


def test_the_manifest_names_what_went_and_no_clock(pruned):
    out, report = pruned
    for target in report.targets:
        manifest = json.loads((out / target.target / "manifest.json").read_text())
        assert manifest["pruned"]["macs"] == target.pruned.macs
        assert "dense_ratio" not in manifest["pruned"]
        assert manifest["model"]["macs"] > target.macs


def test_a_choice_in_the_lock_is_repeated_and_another_request_voids_it(pruned, tmp_path):
    out = shutil.copytree(pruned[0], tmp_path / "out")
    lock = out / "edgekit.lock"
    content = json.loads(lock.read_text())
    row = content["pruning"]["raspberry-pi-4"]
    channels = {group["name"]: group["channels"] for group in row["groups"]}
    row["kept"] = [[8] * len(row["kept"][0])]  # as an earlier build might have chosen
    lock.write_text(json.dumps(content))
    flags = {"shrink": {"prune": 0.5}, "precision": {"precision": "fp32"}}
    target = _one(flags, out)
    assert channels
    assert all(group["kept"] == 8 for group in target.pruned.groups)
    flags = {"shrink": {"prune": 0.4}, "precision": {"precision": "fp32"}}
    target = _one(flags, out)
    assert target.pruned.macs == pytest.approx(0.6, abs=0.03)


def test_in_steps_to_the_same_share(tmp_path):
    shrink = {"prune": 0.6, "prune_steps": 3, "importance": "taylor", "schedule": "global"}
    flags = {"shrink": shrink, "precision": {"precision": "fp32"}}
    out = tmp_path / "out"
    target = _one(flags, out)
    assert target.pruned.macs == pytest.approx(0.4, abs=0.03)
    assert len(json.loads((out / "edgekit.lock").read_text())["pruning"]["raspberry-pi-4"]["kept"]) == 3


def test_a_model_that_has_nothing_to_prune_says_why(tmp_path):
    weights = np.random.default_rng(0).normal(0, 1, (4, 16)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="only", transB=1)],
        "one_layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    flags: Any = {"shrink": {"prune": 0.5}, "data": {"none": True}}
    report = build(str(path), _TARGETS[:1], flags=flags, out=tmp_path / "out")
    assert report.exit_code == 9
    error = report.targets[0].error
    assert error
    assert "nothing to prune" in error["cause"]
    assert "only" in error["cause"]


@pytest.mark.parametrize("recovered", [False, True])
def test_ranks_go_instead_of_channels_and_the_lock_repeats_them(tmp_path, capsys, recovered):
    flags: Any = {"shrink": {"prune": 0.5, "factorize": True}, "precision": {"precision": "int8"}}
    if recovered:
        flags["recover"] = {"recover": True, "original_first": True, "epochs": 4}
    report = build("digits-cnn", _TARGETS[:1], flags=flags, out=tmp_path)
    (target,) = report.targets
    assert target.error is None
    assert target.pruned
    assert target.pruned.factorized
    assert target.pruned.macs == pytest.approx(0.5, abs=0.03)
    assert (target.metrics[0].drop or 0.0) < 1
    assert len(target.recovered) == 2 * recovered
    assert "pruned-speedup" in {gate.name for gate in target.gates}
    print_build(report)
    assert "factorized to 0.5" in " ".join(capsys.readouterr().out.split())
    lock = tmp_path / "edgekit.lock"
    content = json.loads(lock.read_text())
    row = content["pruning"]["raspberry-pi-4"]
    (ranks,) = row["kept"]
    row["kept"] = [[rank // 2 for rank in ranks]]  # as an earlier build might have chosen
    lock.write_text(json.dumps(content))
    target = _one(flags, tmp_path)
    assert [group["kept"] for group in target.pruned.groups] == [rank // 2 for rank in ranks if rank]


@pytest.mark.parametrize(
    ("shrink", "told"),
    [
        ({"factorize": True}, "give that too"),
        ({"factorize": True, "speedup": 2.0}, "a speed-up is of channels"),
        ({"factorize": True, "prune": 0.5, "prune_steps": 2}, "prune_steps is of channels"),
        ({"factorize": True, "prune": 0.5, "schedule": "global"}, "schedule is of channels"),
        ({"factorize": True, "prune": 0.5, "importance": "taylor"}, "activations or l2"),
    ],
)
def test_what_is_of_channels_does_not_go_with_ranks(shrink, told):
    with pytest.raises(UsageError, match=told):
        load_recipe(None, {"shrink": shrink})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_what_is_no_share_is_refused_before_any_work(share):
    with pytest.raises(UsageError, match="no share"):
        load_recipe(None, {"shrink": {"prune": share}})


def test_how_to_prune_without_how_much_is_refused():
    with pytest.raises(UsageError, match="importance"):
        load_recipe(None, {"shrink": {"importance": "l1"}})


def test_the_recipe_knows_every_importance_and_schedule():
    fields = ShrinkSection.model_fields
    assert set(get_args(get_args(fields["importance"].annotation)[0])) == set(importances())
    assert set(get_args(get_args(fields["schedule"].annotation)[0])) == set(Schedule)


@pytest.mark.parametrize("labels", [True, False])
def test_what_pruning_lost_is_not_held_against_a_precision(tmp_path, labels):
    """Float misses the gate here as well: the smallest precision that adds no loss to float's is taken."""
    shrink = {"prune": 0.8, "importance": "random"}
    target = _one({"shrink": shrink, "data": {"labels": labels}, "run": {"devices": ["local"]}}, tmp_path)
    assert target.exit_code == 4  # the gate itself stays what it is
    int8, *_, floating = target.candidates
    assert not floating["accurate"]
    assert target.precision == "int8"
    assert int8["harmless"]
    assert not int8["accurate"]
    if labels:
        assert int8["added_drop"] == pytest.approx(int8["drop"] - floating["drop"])
