"""Faults planted in models of others: int8 collapses, explain names the layer, and the default build repairs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from benchmarks.models import prepare
from edgekit.core.recipe import ModelSection
from edgekit.ir.model import Model
from edgekit.pipeline.stages import fuse, import_source
from edgekit.pipeline.store import Store
from tests import planting
from tests.acceptance.conftest import Build, start

pytestmark = pytest.mark.acceptance

# A layer, and which of its channels is planted.
_CASES = {
    "ResNet-8": ("conv2d_1", 3),
    "VWW": ("depthwise_conv2d_4", 5),
}
Planted = tuple[Path, set[str], dict[str, str]]


@pytest.fixture(scope="module")
def planted(acceptance_data: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planted]:
    """A model with a fault, the layers that are guilty of it, and its data."""
    folder = tmp_path_factory.mktemp("planted")
    sources = prepare(acceptance_data, folder)

    def plant(name: str) -> Planted:
        path, data = sources[name]
        model = fuse(Store(store), import_source(Store(store), path, ModelSection(), 0), 0)
        layer, channel = _CASES[name]
        changed, guilty = planting.rescaled(Model.load(model.path), layer, channel)
        onnx.save(ir.to_proto(changed.proto), folder / f"{name}.onnx")
        return folder / f"{name}.onnx", guilty, data

    return plant


@pytest.mark.parametrize("name", _CASES)
def test_the_planted_layer_is_blamed_and_the_default_build_is_as_good_as_float(
    name: str, planted: Callable[[str], Planted], build: Build, store: Path, tmp_path: Path
) -> None:
    path, guilty, data = planted(name)
    flags = {"data": "--data", "train": "--train-data", "eval": "--eval-data", "normalize": "--normalize"}
    document = build(
        path, "-t", "raspberry-pi-4", "-t", "intel-cpu", "--out", tmp_path / "out",
        *(f"{flags[key]}={value}" for key, value in data.items()),
    )  # fmt: skip
    assert document["exit_code"] == 0, document
    explained = start("explain", tmp_path / "out", "--json", store=store)
    out, err = explained.communicate()
    assert explained.returncode == 0, err
    for target in json.loads(out)["targets"]:
        first = target["layers"][0]
        assert first["layer"] in guilty
        assert first["cost"]["sqnr_db"] < 12
        assert first["left"]["sqnr_db"] > 20
        # Where there are labels there are classes to lose; the photos show VWW next to nobody.
        assert target["naive"]["agreement"] < 50 or not target["labelled"]
    for target in document["targets"]:
        _is_as_good_as_float(target)


def _is_as_good_as_float(target: dict[str, Any]) -> None:
    metrics = {metric["name"]: metric for metric in target["metrics"]}
    if "top1" in metrics:
        assert metrics["top1"]["drop"] < 1.0
        return
    assert metrics["agreement"]["artifact"] >= 98
    assert metrics["worst_class_agreement"]["artifact"] >= 80
    assert metrics["logits_sqnr"]["artifact"] >= 20
