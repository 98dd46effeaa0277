"""The stage that finds out what int8 costs each layer: kept in the store, and gone on with after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.events import Event, listening
from edgekit.core.recipe import ModelSection
from edgekit.core.resources import resource
from edgekit.core.types import to_json
from edgekit.pipeline import child
from edgekit.pipeline.sensitivity import measure_sensitivity, sensitivity, sensitivity_of
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


def test_one_that_was_killed_goes_on_with_the_layer_where_it_was(model, samples, tmp_path, monkeypatch):
    images, labels = samples
    asked: list[dict[str, Any]] = []

    def call(function: str, arguments: dict[str, Any], **_: Any) -> Any:
        """As `child.call`, in this process; the first time it ends after three layers."""
        asked.append(arguments)
        arguments = to_json(arguments)

        def hear(event: Event) -> None:
            if len(asked) == 1 and event.text == "residual":
                raise KeyboardInterrupt

        with listening(hear):
            return to_json(measure_sensitivity(**arguments))

    monkeypatch.setattr(child, "call", call)
    arguments: Any = {"calibration": images, "samples": images, "targets": labels}
    with pytest.raises(KeyboardInterrupt):
        sensitivity_of(Store(tmp_path), model, **arguments)
    workdir = Path(asked[0]["workdir"])
    kept = sorted(workdir.glob("*.json"))
    assert [json.loads(file.read_text())["layer"] for file in kept] == ["image", "stem", "residual"]
    changed = json.loads(kept[1].read_text()) | {"sqnr_db": 1.0}
    kept[1].write_text(json.dumps(changed))
    found = sensitivity_of(Store(tmp_path), model, **arguments)
    assert found.layers[1].sqnr_db == 1.0  # what was known is not found out again
    assert len(found.layers) == len(found.ranges) > 5
    assert not workdir.exists()


def test_a_layer_that_is_asked_for_alone_costs_what_it_did(model, samples, tmp_path):
    images, _ = samples
    store = default_store()
    everything = sensitivity_of(store, model, calibration=images, samples=images, targets=None)
    (alone,) = sensitivity_of(
        Store(tmp_path), model, calibration=images, samples=images, targets=None, only=["widen"]
    ).layers
    assert alone in everything.layers
    assert alone.drop is None
