"""What the digits models share: scikit-learn's handwritten digits, one fixed split, and how a network is trained on it.

Pixels are counts of inked dots, 0 to 16, and go into the networks as they are. Run a model's `train.py` by hand, with
tensorflow and scikit-learn installed: it writes the files that lie beside it. The same lock, instruction set and
seed give the same weights.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Split", "split_digits", "train"]

SEED = 0
HELD_OUT = 450
BATCH = 32


@dataclass(frozen=True)
class Split:
    """Some of the 1,797 digits: `x` uint8 (n, 8, 8, 1) in 0..16, `y` int64 (n,)."""

    x: np.ndarray
    y: np.ndarray

    def save(self, path: Path, shape: tuple[int, ...]) -> None:
        """Write an .npz whose samples have `shape`."""
        np.savez_compressed(path, x=self.x.reshape(-1, *shape), y=self.y)


def split_digits() -> tuple[Split, Split]:
    """1,347 digits to train on and 450 held out, stratified, always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x, y = digits.images[..., np.newaxis].astype(np.uint8), digits.target.astype(np.int64)
    train_x, held_x, train_y, held_y = train_test_split(x, y, test_size=HELD_OUT, random_state=SEED, stratify=y)
    return Split(train_x, train_y), Split(held_x, held_y)


def train(folder: Path, network: Callable[[], Any], *, epochs: int, learning_rate: float) -> None:
    """Train `network()` and write `<folder>/<its name>.keras`, `.onnx`, `train.npz` and `eval.npz`.

    Args:
        folder: the model's folder in the zoo.
        network: makes the Keras model.
        epochs: passes over the training split.
        learning_rate: Adam's, falling to nothing along a cosine.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    known, held_out = split_digits()
    model = network()
    shape = tuple(model.input_shape[1:])
    known.save(folder / "train.npz", shape)
    held_out.save(folder / "eval.npz", shape)

    def tensors(split: Split) -> tuple[np.ndarray, np.ndarray]:
        return split.x.reshape(-1, *shape).astype(np.float32), split.y

    steps = epochs * -(-len(known.y) // BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(*tensors(known), batch_size=BATCH, epochs=epochs, verbose=2)
    _, accuracy = model.evaluate(*tensors(held_out), verbose=0)
    _save(model, folder)
    print(
        f"{model.name}: {model.count_params():,} parameters, {100 * accuracy:.2f} % of the {HELD_OUT} held-out digits"
    )


def _save(model: Any, folder: Path) -> None:
    """Write the network without its optimizer's state, and its ONNX twin through edgekit's own importer."""
    import keras

    from edgekit.formats.importer import import_model

    path = folder / f"{model.name}.keras"
    uncompiled = keras.Model.from_config(model.get_config())
    uncompiled.set_weights(model.get_weights())
    uncompiled.save(path)
    with tempfile.TemporaryDirectory() as workdir:
        report = import_model(
            source=str(path), out=workdir, input_shapes={}, trust_model=False, custom_objects=None, seed=SEED
        )
        Path(workdir, "model.onnx").replace(path.with_suffix(".onnx"))
    print(json.dumps(report["parity"]))
