"""A small multi-layer perceptron on 8×8 handwritten digits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from digits import train  # noqa: E402


def network() -> Any:
    """64 pixels, row by row (0..16) → 10 probabilities."""
    import keras
    from keras import layers

    pixels = keras.Input((64,), name="pixels")
    x = pixels
    for name in ("first", "second"):
        x = layers.Dense(256, use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    digit = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(pixels, digit, name="digits-mlp")


if __name__ == "__main__":
    train(FOLDER, network, epochs=30, learning_rate=1e-3)
