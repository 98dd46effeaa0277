"""A small convolutional network on 8×8 handwritten digits: BatchNorm, a residual and a depthwise block.

Few and wide layers: at this size a graph's description outweighs its weights, so depth costs more bytes than width.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from digits import train  # noqa: E402


def network() -> Any:
    """8×8×1 (NHWC, 0..16) → 10 probabilities."""
    import keras
    from keras import layers

    def batch_norm_relu(x: Any, *, beside: Any = None) -> Any:
        x = layers.BatchNormalization()(x)
        return layers.ReLU()(x if beside is None else layers.Add()([x, beside]))

    image = keras.Input((8, 8, 1), name="image")
    stem = batch_norm_relu(layers.Conv2D(64, 3, padding="same", use_bias=False, name="stem")(image))
    x = layers.Conv2D(64, 3, padding="same", use_bias=False, name="residual")(stem)
    x = batch_norm_relu(x, beside=stem)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="depthwise")(x)
    x = batch_norm_relu(x)
    x = batch_norm_relu(layers.Conv2D(96, 3, padding="same", use_bias=False, name="widen")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    digit = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(image, digit, name="digits-cnn")


if __name__ == "__main__":
    train(FOLDER, network, epochs=20, learning_rate=2e-3)
