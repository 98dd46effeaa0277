"""Builds of a network in which a channel reaches a thousand times as far as the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.core.recipe import ModelSection
from edgekit.core.resources import resource
from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.run import run_bytes
from edgekit.passes.contract import apply
from edgekit.passes.equalise.equalise import EqualiseChannels
from edgekit.passes.fuse import FUSION
from edgekit.pipeline.build import build
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store
from tests import planting

_TARGETS = ("raspberry-pi-5", "intel-cpu")
_INT8: Any = {"precision": {"precision": "int8"}}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits-cnn, which answers what it did, with one channel of its residual block scaled."""
    home = resource("models/digits-cnn")
    path = import_source(default_store(), home / "digits-cnn.keras", ModelSection(), seed=0).path
    model, _ = apply(Model.load(path), FUSION, 0, until_stable=True)
    planted, _ = planting.rescaled(model, "stem", channel=5)
    result = tmp_path_factory.mktemp("planted") / "planted.onnx"
    onnx.save(ir.to_proto(planted.proto), result)
    return result


def _data() -> Any:
    home = resource("models/digits-cnn")
    return {"train": str(home / "train.npz"), "eval": str(home / "eval.npz")}


def test_the_default_build_is_as_good_as_float(planted, tmp_path):
    flags = {"data": _data(), **_INT8}
    for target in build(str(planted), _TARGETS, flags=flags, out=tmp_path).targets:
        assert target.error is None
        drop = target.metrics[0].drop
        assert drop is not None
        assert drop < 1
        manifest = json.loads((tmp_path / target.target / "manifest.json").read_text())
        assert manifest["equalised"] >= 1


def test_without_it_int8_collapses(planted, tmp_path):
    """The same network as it came, and with its channels in line, on ONNX Runtime."""
    home, calibration = resource("models/digits-cnn"), tmp_path / "calibration.npz"
    model = Model.load(planted)
    with np.load(home / "train.npz") as train, np.load(home / "eval.npz") as judged:
        samples = _images(model, train["x"][:256])
        images, labels = _images(model, judged["x"]), judged["y"]
    np.savez(calibration, **samples)  # type: ignore[arg-type]
    even, _ = apply(model, [EqualiseChannels(samples)], 0)

    def top1(network: Model, name: str) -> float:
        folder = tmp_path / name
        folder.mkdir()
        network.save(folder / "float.onnx")
        request = CompileRequest(folder / "float.onnx", QuantPlan(Precision.INT8), None, calibration, folder)
        artifact = OnnxRuntimeBackend().compile(request)
        (answers,) = run_bytes(artifact.path.read_bytes(), images).values()
        return 100 * float((answers.argmax(axis=-1) == labels).mean())

    assert top1(model, "planted") < 90
    assert top1(even, "even") > 98


def _images(model: Model, x: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    (spec,) = model.inputs
    return {spec.name: np.asarray(x, np.float32).reshape(-1, *spec.sample_shape)}


def test_an_even_network_is_compiled_as_it_is(tmp_path):
    (target,) = build("digits-cnn", _TARGETS[:1], flags=_INT8, out=tmp_path).targets
    assert target.error is None
    assert json.loads((tmp_path / _TARGETS[0] / "manifest.json").read_text())["equalised"] == 0
