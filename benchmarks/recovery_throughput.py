"""Images a second of recovery beside a plain Keras `fit` of the same network, and where recovery's time goes.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.recovery_throughput [rounds]

ResNet-8 on CIFAR-10 images, batches of 64, Adam, in turns in one process: medians over the rounds (5 unless told). With
labels alone, both do the same work; the other rows add the teacher: cached, or asked in the step because images move.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photographs import photographs, shared_data
from edgekit.core.recipe import ModelSection
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.recover.feeding import Feed
from edgekit.passes.recover.planning import Plan
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import Augment, BatchNorm, RecoverSettings
from edgekit.passes.recover.trainer import Trainer
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store

BATCH = 64
STEPS = 30
MOVES = (Augment.FLIP, Augment.SHIFT)


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    source = shared_data() / "mlperf_tiny_models" / "pretrainedResnet.h5"
    model = Model.load(import_source(default_store(), source, ModelSection(), seed=0).path)
    with tempfile.TemporaryDirectory() as folder:
        images, labels = (array[:: len(array) // (STEPS * BATCH)][: STEPS * BATCH] for array in photographs("test5k"))
        samples = Samples({model.inputs[0].name: images}, {model.outputs[0].name: labels}, pixels(model))
        samples.save(Path(folder))
        samples = Samples.open(Path(folder))
        runs = {
            "Keras fit": keras_fit(source, images, labels),
            "labels": recovery(model, samples, 1.0, ()),
            "labels, float32": recovery(model, samples, 1.0, (), narrow=False),
            "labels, moved": recovery(model, samples, 1.0, MOVES),
            "teacher cached": recovery(model, samples.unlabelled(), 0.0, ()),
            "teacher asked, moved": recovery(model, samples.unlabelled(), 0.0, MOVES),
            "batches alone, moved": batches(model, samples, MOVES),
        }
        for run in runs.values():
            run()
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                begun = time.perf_counter()
                run()
                found[name].append(STEPS * BATCH / (time.perf_counter() - begun))
    plain = statistics.median(found["Keras fit"])
    print("| what | images/s | ÷ Keras fit |")
    print("|---|---|---|")
    for name, figures in found.items():
        print(f"| {name} | {statistics.median(figures):.0f} | {statistics.median(figures) / plain:.2f} |")


def pixels(model: Model) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """ResNet-8 takes pixels as they are."""
    return {model.inputs[0].name: (np.ones(3, np.float32), np.zeros(3, np.float32))}


def keras_fit(source: Path, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """An epoch of what a Keras user writes."""
    import tf_keras

    network = tf_keras.models.load_model(source)
    network.compile(tf_keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    floats = images.astype(np.float32)
    return lambda: network.fit(floats, labels, batch_size=BATCH, verbose=0)


def recovery(
    model: Model, samples: Samples, share: float, moves: tuple[Augment, ...], *, narrow: bool = True
) -> Callable[[], Any]:
    """An epoch of recovery; `narrow` is what it does by itself on a CPU that has bfloat16."""
    fused, _ = apply(model, FUSION, 0, until_stable=True)
    plan = Plan(BATCH, BatchNorm.BATCH, 0.99, share, narrow)
    trainer = Trainer(model, fused, samples, RecoverSettings(), plan)
    feed = Feed(samples, model.inputs, BATCH, moves, 0, {})
    if share < 1 and not moves:
        parts = list(trainer.teach(samples))
        feed = replace(feed, taught={name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def run() -> None:
        losses = [trainer.step(*made, learning_rate=1e-4) for made in feed.epoch(1, STEPS)]
        float(losses[-1])

    return run


def batches(model: Model, samples: Samples, moves: tuple[Augment, ...]) -> Callable[[], Any]:
    """An epoch of making batches, and nothing else."""
    feed = Feed(samples, model.inputs, BATCH, moves, 0, {})
    return lambda: list(feed.epoch(1, STEPS))


if __name__ == "__main__":
    main()
