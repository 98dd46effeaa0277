"""What recovery wins back of networks other than ResNet-8, at 0.6 of their MACs: a table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.recovery_models [name …]

Without labels, but for the gestures; samples that recovery does not see judge. The auto-encoder's own sounds are not at
hand: it gets noise in the range of log-mel spectra. UltraFace gets photographs of anything, enlarged. What a row took
is of the CPU, all cores, without pruning.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photographs import Array, photographs, shared_data
from edgekit.core.recipe import ModelSection
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.run import run
from edgekit.passes.contract import apply
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.dependencies import plain
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.recover.recovery import recover_model, repeatable
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import RecoverSettings
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store

LEFT = 0.6
CALIBRATION = 128
PLACES = (240, 320)  # height and width of UltraFace's images


@dataclass(frozen=True)
class Case:
    """A network and its samples.

    Attributes:
        file: in the acceptance data.
        samples: made for the network; the last `held` of them judge, those before select.
        held: how many.
        settings: of the recovery.
    """

    file: str
    samples: Callable[[Model], Samples]
    held: int
    settings: RecoverSettings


def spectra(model: Model) -> Samples:
    """Noise in the range of log-mel spectra, five frames of 128 bands."""
    noise = np.random.default_rng(0).normal(-20, 10, (40_000, 640))
    return Samples({model.inputs[0].name: noise.astype(np.float32)})


def faceless(model: Model) -> Samples:
    """Photographs of ten kinds of things, enlarged, as bytes; the network takes -1..1."""
    images, _ = photographs("train20k")
    chosen = images[np.random.default_rng(0).permutation(len(images))[:9200]]
    large = np.empty((len(chosen), 3, *PLACES), np.uint8)
    for place, image in zip(large, chosen, strict=True):
        resized = Image.fromarray(image).resize(PLACES[::-1], Image.Resampling.BILINEAR)
        place[:] = np.asarray(resized).transpose(2, 0, 1)
    name = model.inputs[0].name
    return Samples({name: large}, {}, {name: (np.full(3, 2 / 255, np.float32), np.full(3, -1, np.float32))})


def table(file: str) -> Callable[[Model], Samples]:
    """The rows of a CSV, the label first, in another order."""

    def read(model: Model) -> Samples:
        rows = np.loadtxt(shared_data() / "hand_gesture" / file, delimiter=",", dtype=np.float32)
        rows = rows[np.random.default_rng(0).permutation(len(rows))]
        return Samples({model.inputs[0].name: rows[:, 1:]}, {model.outputs[0].name: rows[:, 0].astype(np.int64)})

    return read


CASES = {
    "keypoints": Case("hand_gesture/keypoint_classifier.hdf5", table("keypoint.csv"), 900, RecoverSettings()),
    "point history": Case(
        "hand_gesture/point_history_classifier.hdf5", table("point_history.csv"), 1000, RecoverSettings()
    ),
    "ad01": Case("mlperf_tiny_models/ad01.h5", spectra, 600, RecoverSettings(epochs=60, learning_rate=1e-3)),
    "ultraface": Case(
        "ultraface/version-slim-320_simplified.onnx",
        faceless,
        100,
        RecoverSettings(epochs=2, learning_rate=1e-3, batch=16, augment=()),
    ),
}


def main() -> None:
    """Print the table."""
    repeatable()
    print("| network | what is judged | the original | pruned | and compensated | and recovered | min of CPU |")
    print("|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or CASES:
        show(name, CASES[name])


def show(name: str, case: Case) -> None:
    """Print the rows of one network, one an output."""
    source = import_source(default_store(), shared_data() / case.file, ModelSection(), seed=0)
    original = plain(Model.load(source.path))
    samples = case.samples(original)
    end = len(samples) - case.held
    train, selection, judge = (
        samples.take(slice(*rows)) for rows in ((0, end - case.held), (end - case.held, end), (end, None))
    )
    evidence = Evidence(train.take(slice(0, CALIBRATION)).feeds(original.inputs))
    bare, compensated = (pruned(original, evidence, compensated=way) for way in (False, True))
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        recovered, _ = recover_model(
            compensated, original, train, selection, settings=case.settings, workdir=Path(folder)
        )
    minutes = (time.process_time() - begun) / 60
    left = model_cost(recovered).macs / model_cost(original).macs
    columns = [judged(model, original, judge) for model in (original, bare, compensated, recovered)]
    for what in columns[0]:
        cells = [f"{column[what]:.2f}" if np.isfinite(column[what]) else "" for column in columns]
        print(f"| {name}, {left:.2f} of the MACs | {what} | {' | '.join(cells)} | {minutes:.1f} |", flush=True)


def pruned(model: Model, evidence: Evidence, *, compensated: bool) -> Model:
    """The network at `LEFT` of its MACs."""
    pruning = PruneChannels(1 - LEFT, evidence, measure="activations", compensated=compensated)
    return apply(model, [pruning], 0)[0]


def judged(model: Model, original: Model, samples: Samples) -> Mapping[str, float]:
    """Top-1 in points where there are labels, else each output's signal ÷ error in dB."""
    feeds = samples.feeds(model.inputs)
    answers = run(model, feeds)
    if samples.targets:
        return {"top-1, points": 100 * float(np.mean([right(answers[n], y) for n, y in samples.targets.items()]))}
    return {f"SQNR of {name}, dB": sqnr(answers[name], wanted) for name, wanted in run(original, feeds).items()}


def right(scores: Array, labels: Array) -> float:
    """The share of rows whose highest score is the label's."""
    return float((scores.argmax(1) == labels).mean())


def sqnr(values: Array, wanted: Array) -> float:
    """Signal ÷ error."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(wanted).mean() / np.square(values - wanted).mean()))


if __name__ == "__main__":
    main()
