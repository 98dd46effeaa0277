"""A network with several outputs: each is recovered, whatever the others are like."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from onnx import helper

from edgekit.ir.model import Model
from edgekit.ir.run import run
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import RecoverSettings
from tests.lowering.conftest import make_model

_FEW = RecoverSettings(epochs=4, learning_rate=3e-3, batch=16)
_WIDTH = 8
_LAYERS = ("stem", "near", "far")
_OUTPUTS = _LAYERS[1:]


def _network(**errors: float) -> Model:
    """Two products of what a first one gives, each with some of a noise in its weights."""
    random = np.random.default_rng(0)
    weights = {}
    for name in _LAYERS:
        right, noise = random.normal(size=(2, _WIDTH, _WIDTH)) / np.sqrt(_WIDTH)
        weights[f"{name}/weights"] = (right + errors.get(name, 0.0) * noise).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", [source, f"{name}/weights"], [name])
        for source, name in zip(("x", "stem", "stem"), _LAYERS, strict=True)
    ]
    return make_model(nodes, {"x": ["N", _WIDTH]}, weights, _OUTPUTS)


def _recovered(student: Model, folder: Path, settings: RecoverSettings, *labelled: str) -> dict[str, float]:
    """What recovery leaves of each output's squared error."""
    inputs = np.random.default_rng(1).normal(size=(320, _WIDTH)).astype(np.float32)
    wanted = run(_network(), {"x": inputs})
    train, selection = (
        Samples({"x": inputs[rows]}, {name: wanted[name][rows] for name in labelled})
        for rows in (slice(0, 256), slice(256, None))
    )
    recovered, _ = recover_model(student, _network(), train, selection, settings=settings, workdir=folder)
    before, after = (run(model, {"x": inputs}) for model in (student, recovered))
    return {
        name: float(np.square(after[name] - wanted[name]).sum() / np.square(before[name] - wanted[name]).sum())
        for name in _OUTPUTS
    }


def test_one_without_labels_is_the_teachers_even_where_labels_are_all_that_counts(tmp_path: Path) -> None:
    student, settings = _network(near=1.0, far=1.0), dataclasses.replace(_FEW, label_share=1.0)
    left = _recovered(student, tmp_path, settings, "near")
    assert max(left.values()) < 0.9, left
