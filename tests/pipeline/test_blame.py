"""A build of a network with a planted fault, explained: who is to blame, what is left, and what takes the time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.recipe import ModelSection
from edgekit.core.resources import resource
from edgekit.core.sensitivity import Cost, LayerCost, LayerRanges, Sensitivity
from edgekit.devices.answer import OpTime
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.pipeline.blame import explain_build
from edgekit.pipeline.build import build
from edgekit.pipeline.op_layers import op_rows
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store
from tests import planting

_GUILTY = {"depthwise", "widen"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a default build of digits-cnn in which one channel reaches a thousand times as far."""
    folder, home = tmp_path_factory.mktemp("blame"), resource("models/digits-cnn")
    path = import_source(default_store(), home / "digits-cnn.keras", ModelSection(), seed=0).path
    fused, _ = apply(Model.load(path), FUSION, 0, until_stable=True)
    planted, guilty = planting.rescaled(fused, "depthwise", channel=11)
    assert guilty >= _GUILTY
    onnx.save(ir.to_proto(planted.proto), folder / "planted.onnx")
    flags: Any = {
        "data": {"train": str(home / "train.npz"), "eval": str(home / "eval.npz")},
        "precision": {"precision": "int8"},
        "run": {"backend": "onnxruntime"},
    }
    report = build(str(folder / "planted.onnx"), ["raspberry-pi-5"], flags=flags, out=folder / "out")
    assert report.targets[0].error is None
    return folder / "out"


def test_the_guilty_layer_comes_first_and_what_the_build_left_of_it_stands_beside(built):
    (target,) = explain_build(built).targets
    first = target.layers[0]
    assert first.layer in _GUILTY
    assert first.cost.sqnr_db < 5
    assert first.cost.drop is not None
    assert first.cost.drop > 50
    assert target.naive.agreement is not None
    assert target.naive.agreement < 50
    assert target.repaired is not None
    assert target.repaired.agreement == 100
    assert first.left is not None
    assert first.left.sqnr_db > 30
    assert [layer.cost.sqnr_db for layer in target.layers] == sorted(layer.cost.sqnr_db for layer in target.layers)
    (maker,) = (layer for layer in target.layers if layer.layer == "depthwise")
    assert maker.output_outliers[0].channel == 11
    assert sum(layer.bytes_share for layer in target.layers) == pytest.approx(1)
    assert sum(layer.macs_share for layer in target.layers) == pytest.approx(1)


def test_each_operator_of_the_artifact_is_timed_and_known_by_its_layer(built):
    (target,) = explain_build(built / "raspberry-pi-5").targets
    assert {"stem", "residual", "depthwise", "widen", "digit"} <= {op.layer for op in target.ops}
    assert sum(op.share for op in target.ops) == pytest.approx(1)
    shares = [layer.time_share for layer in target.layers]
    assert all(share is not None for share in shares)
    assert sum(share or 0 for share in shares) > 0.5


def test_a_build_that_the_store_forgot_is_to_be_built_again(built, tmp_path):
    shutil.copytree(built, tmp_path / "out")
    report = tmp_path / "out" / "raspberry-pi-5" / "report.json"
    content = json.loads(report.read_text())
    content["store"]["plain"] = f"fuse/{'0' * 64}"
    report.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="not in the store") as caught:
        explain_build(tmp_path / "out")
    assert "edgekit build" in caught.value.remedy
    content["store"] = {"original": "../../etc", "plain": "", "compiled": "a/b/c", "data": "x"}
    report.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="not in the store"):
        explain_build(tmp_path / "out")


def test_what_no_build_wrote_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder that a build wrote"):
        explain_build(tmp_path)


def test_of_several_names_that_of_the_layer_that_multiplies_counts():
    layers = (
        ("conv", ("conv", "act"), "act:0", 9),
        ("head", ("head",), "head:0", 9),
        ("head/Softmax", ("head/Softmax",), "y", 0),
    )
    found = Sensitivity(
        layers=tuple(LayerCost(name, "", (value,), 0, None, None, None, Cost(0)) for name, _, value, _ in layers),
        ranges=tuple(LayerRanges(name, nodes, (0, 1), (), None, (), 0, macs) for name, nodes, _, macs in layers),
        naive=Cost(0),
        samples=1,
    )
    ops = [
        OpTime(op="CONV", names=("act/Relu;conv/BiasAdd",), us=3.0),
        OpTime(op="FullyConnected", names=("head/Softmax/WithoutBiases",), us=1.0),
        OpTime(op="Softmax", names=("head/Softmax/Softmax",), us=0.0),
        OpTime(op="Conv", names=("act:0",), us=0.0),
        OpTime(op="Convert", names=(), us=0.0),
    ]
    assert [(row.layer, row.share) for row in op_rows(ops, found)] == [
        ("conv", 0.75),
        ("head", 0.25),
        ("head/Softmax", 0.0),
        ("conv", 0.0),
        (None, 0.0),
    ]
