"""Today's mobile networks lose half of their MACs and keep their shape, and both back ends take what is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.formats.importer import import_model
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.run import probe, run
from edgekit.passes.prune.dependencies import plain
from edgekit.passes.prune.request import Pruning
from edgekit.passes.prune.schedule import TOLERANCE as MACS_TOLERANCE
from edgekit.passes.prune.stage import prune_model
from tests.architectures.parity import TOLERANCE, Built

_HALF = {"prune": 0.5, "schedule": "uniform", "steps": 1, "multiple": 16}


@pytest.mark.parametrize("name", ["mobilenet_v3", "unet", "vit", "yolo"])
def test_half_of_the_macs_go_in_whole_blocks(
    name: str, keras_folder: Path, built: Callable[[Path], Built], tmp_path: Path
) -> None:
    imported, pruned = tmp_path / "imported", tmp_path / "pruned"
    imported.mkdir()
    pruned.mkdir()
    import_model(str(keras_folder / f"{name}-keras.keras"), str(imported))
    dense = plain(Model.load(imported / "model.onnx"))
    np.savez(tmp_path / "samples.npz", **probe(dense, 0, 16))  # type: ignore[arg-type]
    request = Pruning(importance="l2", **_HALF)  # type: ignore[arg-type]
    samples = str(tmp_path / "samples.npz")
    report = prune_model(str(imported / "model.onnx"), str(pruned), request, samples=samples, targets=None, seed=0)
    model = Model.load(pruned / "model.onnx")
    assert model_cost(model).macs / model_cost(dense).macs == pytest.approx(0.5, abs=MACS_TOLERANCE)
    assert (model.inputs, model.outputs) == (dense.inputs, dense.outputs)
    assert report["multiple"] == 16
    if name in {"unet", "vit"}:  # the smallest ones
        feeds = probe(model, 1, 2)
        given = {f"input:{place}": feeds[spec.name] for place, spec in enumerate(model.inputs)}
        wanted = {f"output:{place}": answer for place, answer in enumerate(run(model, feeds).values())}
        np.savez(pruned / "model.npz", **given, **wanted)  # type: ignore[arg-type]
        assert max(built(pruned / "model.onnx").off.values()) <= TOLERANCE
