"""The digits: a convolutional network with BatchNormalization, pruned hard, and samples to recover it with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edgekit.formats.importer import import_model
from edgekit.ir.model import Model
from edgekit.ir.run import run
from edgekit.passes.contract import apply
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.recover.samples import Samples

ZOO = Path(__file__).parents[3] / "models" / "digits-cnn"


class Digits(NamedTuple):
    dense: Model
    pruned: Model
    train: Samples
    selection: Samples

    def top1(self, model: Model) -> float:
        held_out = np.load(ZOO / "eval.npz")
        (spec,) = model.inputs
        answers = next(iter(run(model, {spec.name: held_out["x"].astype(np.float32)}).values()))
        return 100 * float((answers.argmax(1) == held_out["y"]).mean())


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("digits")
    import_model(str(ZOO / "digits-cnn.onnx"), str(folder))
    dense = Model.load(folder / "model.onnx")
    data = np.load(ZOO / "train.npz")
    (spec,), (output,) = dense.inputs, dense.outputs
    images, labels = data["x"].astype(np.float32), data["y"].astype(np.int64)
    evidence = Evidence({spec.name: images[:128]})
    pruned, _ = apply(dense, [PruneChannels(0.75, evidence, compensated=False)], 0)
    train, selection = (
        Samples({spec.name: images[rows]}, {output.name: labels[rows]}) for rows in (slice(0, 1078), slice(1078, None))
    )
    return Digits(dense, pruned, train, selection)
