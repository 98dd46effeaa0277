"""The stage that finds out what int8 costs each layer: kept in the store, and gone on with after a kill."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import InvalidInputError
from edgekit.core.events import Event, listening
from edgekit.core.recipe import ModelSection
from edgekit.core.resources import resource
from edgekit.pipeline import child
from edgekit.pipeline.sensitivity import sensitivity, sensitivity_of
from edgekit.pipeline.stages import SourceModel, fuse, import_source
from edgekit.pipeline.store import Store, default_store


@pytest.fixture(scope="module")
def model() -> SourceModel:
    store, home = default_store(), resource("models/digits-cnn")
    return fuse(store, import_source(store, home / "digits-cnn.keras", ModelSection(), 0), 0)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, model: SourceModel) -> tuple[Path, Path]:
    """48 samples and their labels."""
    folder = tmp_path_factory.mktemp("samples")
    with np.load(resource("models/digits-cnn") / "train.npz") as train:
        images = np.asarray(train["x"][:48], np.float32).reshape(-1, *model.inputs[0].sample_shape)
        np.savez(folder / "x.npz", **{model.inputs[0].name: images})  # type: ignore[arg-type]
        labels = np.asarray(train["y"][:48], np.int64)
        np.savez(folder / "y.npz", **{model.outputs[0].name: labels})  # type: ignore[arg-type]
    return folder / "x.npz", folder / "y.npz"


def test_it_is_found_out_once_and_told_the_worst_first(model, samples, tmp_path):
    store, (images, labels) = Store(tmp_path), samples
    heard: list[Event] = []
    with listening(heard.append):
        costs = sensitivity(store, model, calibration=images, samples=images, targets=labels)
        again = sensitivity(store, model, calibration=images, samples=images, targets=labels)
    assert costs == again
    assert [event.cached for event in heard if event.kind == "done"] == [False, True]
    told = [event.fraction for event in heard if event.kind == "progress"]
    assert len(told) == len(costs)
    assert told == sorted(told)
    assert [cost.sqnr_db for cost in costs] == sorted(cost.sqnr_db for cost in costs)
    assert {(cost.agreement, cost.drop) for cost in costs} == {(100.0, 0.0)}


def test_killed_half_way_it_goes_on_with_the_layer_where_it_was(model, samples, tmp_path, monkeypatch):
    images, labels = samples
    arguments: Any = {"calibration": images, "samples": images, "targets": labels}
    undisturbed = sensitivity_of(default_store(), model, **arguments).layers
    store, workdirs, begin = Store(tmp_path), list[Path](), child.call

    def call(function: str, given: dict[str, Any], **options: Any) -> Any:
        """A pipe where the fourth layer is written: the child waits there for a reader."""
        workdirs.append(Path(given["workdir"]))
        os.mkfifo(workdirs[0] / "3.partial")
        return begin(function, given, **options)

    def kill(event: Event) -> None:
        if event.text == undisturbed[2].layer:
            os.kill(_child(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(child, "call", call)
        with listening(kill), pytest.raises(InvalidInputError, match="SIGKILL"):
            sensitivity_of(store, model, **arguments)
    (workdir,) = workdirs
    (workdir / "3.partial").unlink()
    (workdir / "3.partial").write_text('{"layer": "half')
    kept = sorted(workdir.glob("*.json"))
    assert [json.loads(file.read_text())["layer"] for file in kept] == [cost.layer for cost in undisturbed[:3]]
    for file in kept:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"sqnr_db": 1.0}))
    found = sensitivity_of(store, model, **arguments).layers
    assert [cost.sqnr_db for cost in found[:3]] == [1.0] * 3, "what was known is not found out again"
    assert found[3:] == undisturbed[3:] != ()
    assert not workdir.exists()


def _child() -> int:
    """The process id of the stage at work."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            if b"edgekit.pipeline.child" in Path("/proc", pid, "cmdline").read_bytes():
                return int(pid)
    raise AssertionError("no stage is at work")


def test_a_layer_that_is_asked_for_alone_costs_what_it_did(model, samples, tmp_path):
    images, _ = samples
    store = default_store()
    everything = sensitivity_of(store, model, calibration=images, samples=images, targets=None)
    (alone,) = sensitivity_of(
        Store(tmp_path), model, calibration=images, samples=images, targets=None, only=["widen"]
    ).layers
    assert alone in everything.layers
    assert alone.drop is None
