"""How small the downloads of two networks get with nothing lost, pruned, made sparse, clustered and recovered: a table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.deep_compression [LeNet-300-100] [LeNet-5]

The networks of Deep Compression (Han et al., ICLR 2016, arXiv:1510.00149), trained on 8,000 of the 10,000 MNIST images
that there are, 800 of them only to choose epochs, and judged on the other 2,000; with five splits each image is judged
once. Every row is an artifact as a build makes it, unpacked from its download and run on ai-edge-litert. Bytes are the
means of the splits; shares are of the float artifact's file and of its download. The float network is recovered as the
others are, too: what more training gives is not compression's.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from zstandard import ZstdCompressor, ZstdDecompressor

from edgekit.backends.base import CompileRequest, load_backend
from edgekit.core.types import Precision, QuantPlan
from edgekit.formats.importer import import_model
from edgekit.ir.model import Model
from edgekit.passes.cluster.clustering import ClusterWeights
from edgekit.passes.contract import Pass, apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.recover.recovery import recover_model, repeatable
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import Augment, Optimizer, RecoverSettings
from edgekit.passes.sparsify.sparsify import Sparsify

SPLITS, TRAINED, SELECTED, CALIBRATED = 5, 8000, 800, 256
EPOCHS = {"LeNet-300-100": 60, "LeNet-5": 10}
PRUNED, SPARSE, CLUSTERS = 0.7, (0.7, 0.86), 10
SETTINGS = RecoverSettings(
    batch=128,
    optimizer=Optimizer.ADAMW,
    weight_decay=0.05,
    learning_rate=0.003,
    patience=max(EPOCHS.values()),
    augment=(Augment.SHIFT,),
    thinned=True,
)
LEVEL = 19  # of zstd, as a build's downloads


@dataclass(frozen=True)
class Digits:
    """A split: images (n, 28, 28, 1) from 0 to 1 and labels (n,), to train with and to judge by."""

    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    judged: np.ndarray[Any, Any]
    truth: np.ndarray[Any, Any]

    def samples(self, model: Model, rows: slice) -> Samples:
        """Some of those to train with, for recovery."""
        return Samples({model.inputs[0].name: self.images[rows]}, {model.outputs[0].name: self.labels[rows]})


@dataclass(frozen=True)
class Judged:
    """An artifact: how many weights are not zero, the bytes of its file and download, how many answers were right."""

    weights: int
    file: int
    download: int
    right: int


def main() -> None:
    """Print the table."""
    repeatable()
    print(
        "| network | artifact | weights | top-1 of 10,000 | lost | file | download | float file ÷ | float download ÷"
        " | minutes |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in sys.argv[1:] or EPOCHS:
        begun, rows = time.monotonic(), list[dict[str, Judged]]()
        for number, digits in enumerate(splits(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]))):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(dict(compressed(name, digits, number, Path(folder))))
            print(f"{name}, split {number + 1}: {rows[-1]}", file=sys.stderr, flush=True)
        minutes = (time.monotonic() - begun) / 60
        first = table_row([row["float"] for row in rows])
        for stage in rows[0]:
            found = table_row([row[stage] for row in rows])
            cells = (
                name, stage, f"{found.weights:,}", f"{found.right / 100:.2f}",
                f"{(first.right - found.right) / 100:+.2f}", f"{found.file:,}", f"{found.download:,}",
                f"{first.file / found.download:.1f}", f"{first.download / found.download:.1f}", f"{minutes:.0f}",
            )  # fmt: skip
            print("|", " | ".join(cells), "|", flush=True)


def table_row(found: list[Judged]) -> Judged:
    """Means of what has a size, and the sum of the right answers."""
    weights, file, download = (
        round(np.mean([getattr(each, kind) for each in found])) for kind in ("weights", "file", "download")
    )
    return Judged(weights, file, download, sum(each.right for each in found))


def splits(shared: Path) -> Iterator[Digits]:
    """The five, in an order of the images that is always the same."""
    raw = gzip.decompress((shared / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = (np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    raw = gzip.decompress((shared / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(raw, np.uint8, offset=8).astype(np.int64)
    order = np.random.default_rng(1).permutation(len(images))
    for number in range(SPLITS):
        turned = np.roll(order, -number * (len(order) - TRAINED))
        train, judged = turned[-TRAINED:], turned[:-TRAINED]
        yield Digits(images[train], labels[train], images[judged], labels[judged])


def compressed(name: str, digits: Digits, seed: int, home: Path) -> Iterator[tuple[str, Judged]]:
    """What there is after each part of the way, by its name."""
    dense, _ = apply(trained(name, digits, seed, home), FUSION, seed, until_stable=True)
    yield "float", judge(dense, Precision.FP32, digits, home)
    yield "int8", judge(dense, Precision.INT8, digits, home)
    settings = replace(SETTINGS, epochs=EPOCHS[name], seed=seed)
    yield "float, recovered", judge(recovered(dense, dense, digits, settings, home), Precision.FP32, digits, home)
    evidence = Evidence({dense.inputs[0].name: digits.images[:CALIBRATED]})
    stages: dict[str, list[Pass]] = {
        "pruned": [PruneChannels(PRUNED, evidence, measure="activations")],
        "sparse": [Sparsify(share) for share in SPARSE],
        "clustered": [ClusterWeights(CLUSTERS)],
    }
    model = dense
    for stage, passes in stages.items():
        for each in passes:
            changed, _ = apply(model, [each], seed)
            model = recovered(changed, dense, digits, settings, home)
        yield f"{stage}, recovered, int8", judge(model, Precision.INT8, digits, home)


def trained(name: str, digits: Digits, seed: int, home: Path) -> Model:
    """The float network."""
    import keras

    keras.utils.set_random_seed(seed)
    layers, epochs, batch = keras.layers, 20, 64
    body = {
        "LeNet-300-100": [layers.Flatten(), layers.Dense(300, "relu"), layers.Dense(100, "relu")],
        "LeNet-5": [
            layers.Conv2D(20, 5), layers.MaxPool2D(), layers.Conv2D(50, 5), layers.MaxPool2D(), layers.Flatten(),
            layers.Dense(500, "relu"),
        ],
    }[name]  # fmt: skip
    network = keras.Sequential([keras.Input((28, 28, 1)), *body, layers.Dense(10, "softmax")])
    images, labels = digits.images[SELECTED:], digits.labels[SELECTED:]
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * len(images) // batch)
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    network.fit(images, labels, batch_size=batch, epochs=epochs, verbose=0)
    network.save(home / "network.keras")
    import_model(str(home / "network.keras"), str(home), seed=seed)
    return Model.load(home / "model.onnx")


def recovered(student: Model, teacher: Model, digits: Digits, settings: RecoverSettings, home: Path) -> Model:
    """The student with its accuracy won back; nothing that it is judged on has a part in it."""
    train, selection = (digits.samples(student, rows) for rows in (slice(SELECTED, None), slice(0, SELECTED)))
    workdir = Path(tempfile.mkdtemp(dir=home))
    return recover_model(student, teacher, train, selection, settings=settings, workdir=workdir)[0]


def judge(model: Model, precision: Precision, digits: Digits, home: Path) -> Judged:
    """Compile as a build does, compress, unpack, and run what comes out."""
    backend, folder = load_backend("tflite"), Path(tempfile.mkdtemp(dir=home))
    model.save(folder / "model.onnx")
    np.savez(folder / "calibration.npz", **{model.inputs[0].name: digits.images[:CALIBRATED]})  # type: ignore[arg-type]
    artifact = None
    for each in dict.fromkeys((Precision.FP32, precision)):
        workdir = folder / each
        workdir.mkdir()
        artifact = backend.compile(
            CompileRequest(folder / "model.onnx", QuantPlan(each), artifact, folder / "calibration.npz", workdir)
        )
    assert artifact is not None
    content = artifact.path.read_bytes()
    download = ZstdCompressor(level=LEVEL, threads=-1).compress(content)
    right = int((answers(ZstdDecompressor().decompress(download, len(content)), digits.judged) == digits.truth).sum())
    constants = [
        value.const_value.numpy() for value in model.graph.initializers.values() if value.const_value is not None
    ]
    weights = int(sum(np.count_nonzero(array) for array in constants if array.dtype == np.float32))
    return Judged(weights, len(content), len(download), right)


def answers(content: bytes, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The classes that the artifact tells."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for image in images:
        interpreter.set_tensor(taken, image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(given)[0].argmax())
    return np.array(found)


if __name__ == "__main__":
    main()
