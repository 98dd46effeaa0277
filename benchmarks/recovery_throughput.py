"""Images a second of recovery beside a plain Keras `fit` of the same network, and where recovery's time goes.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.recovery_throughput [rounds]

ResNet-8 on CIFAR-10 images, batches of 64, Adam, in turns in one process: medians over the rounds (5 unless told). With
labels alone, both do the same work; the other rows add the teacher: cached, or asked in the step because images move.
The pruned network has 12, 20 and 44 channels for 16, 32 and 64. The last row of the first table is of the batches, the
second table says what the kernels of a step take, teacher asked: their times added up, so that two that run side by
side count twice.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from collections import Counter
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
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.recover.feeding import Feed
from edgekit.passes.recover.planning import Plan
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import Augment, BatchNorm, RecoverSettings
from edgekit.passes.recover.trainer import Trainer
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store

BATCH = 64
STEPS = 30
SHOWN = 10
KERNEL = re.compile(r"[\w/]+:(_?[A-Z]\w+)")  # name of a node, and of the op that it is
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
            "pruned, labels": recovery(pruned(model, samples), samples, 1.0, ()),
            "pruned, labels, float32": recovery(pruned(model, samples), samples, 1.0, (), narrow=False),
            "batches alone, moved": batches(model, samples, MOVES),
        }
        for run in runs.values():
            run()
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                clock, cpu = time.perf_counter(), time.process_time()
                run()
                found[name].append((time.perf_counter() - clock, time.process_time() - cpu))
        kernels = kernel_times(runs["teacher asked, moved"])
    plain = [statistics.median(column) for column in zip(*found["Keras fit"], strict=True)]
    print("| what | images/s | ÷ Keras fit | ÷ Keras fit, for each second of the CPU |")
    print("|---|---|---|---|")
    for name, figures in found.items():
        clock, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| {name} | {STEPS * BATCH / clock:.0f} | {plain[0] / clock:.2f} | {plain[1] / cpu:.2f} |")
    print("\n| kernels | ms a step |\n|---|---|")
    for name, milliseconds in kernels.most_common(SHOWN):
        print(f"| {name} | {milliseconds:.1f} |")
    print(f"| others | {sum(kernels.values()) - sum(dict(kernels.most_common(SHOWN)).values()):.1f} |")


def pruned(model: Model, samples: Samples) -> Model:
    """The network at half of its MACs; which channels have gone is of no account here."""
    (name,) = samples.inputs
    evidence = Evidence({name: samples.inputs[name][:128].astype(np.float32)})
    return apply(model, [PruneChannels(0.5, evidence, multiple=4, compensated=False)], 0)[0]


def kernel_times(run: Callable[[], Any]) -> Counter[str]:
    """What kernels of each kind take in a step, in ms, by TensorFlow's profiler."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            kernel = KERNEL.fullmatch(name)
            if kernel:
                found[kernel[1].removeprefix("_Mkl").removeprefix("Native")] += event.duration_ps / 1e9 / STEPS
    return found


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
    plan = Plan(BATCH, BatchNorm.BATCH, 0.99, share, narrow, reinsert=False, tried=0)
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
