"""The same kinds of networks in Keras 3, random weights, saved as .keras files with Keras' own answers.

Usage: keras_networks.py FOLDER. For each network it writes <name>-keras.keras, and an .npz of inputs ("input:<place>")
and Keras' own answers ("output:<place>").
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops

SAMPLES = 2


def conv(x: Any, filters: int, kernel: int, activation: str, strides: int = 1) -> Any:
    """Convolution, BatchNorm, activation."""
    x = layers.Conv2D(filters, kernel, strides, "same", use_bias=False)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def mobilenet_v3() -> Any:
    return keras.applications.MobileNetV3Small(
        (64, 64, 3), weights=None, classes=10, include_preprocessing=False, dropout_rate=0
    )


def efficientnet_b0() -> Any:
    return keras.applications.EfficientNetB0(input_shape=(64, 64, 3), weights=None, classes=10)


def yolo() -> Any:
    """A detector with a feature pyramid: UpSampling2D and Concatenate on the way up, two scales of boxes."""
    image = keras.Input((64, 64, 3), name="image")
    x = conv(conv(image, 16, 3, "silu", 2), 32, 3, "silu", 2)
    kept, worked = conv(x, 16, 1, "silu"), conv(x, 16, 1, "silu")
    fine = conv(
        layers.Concatenate()([kept, worked, layers.Add()([worked, conv(worked, 16, 3, "silu")])]), 32, 1, "silu"
    )
    coarse = conv(fine, 64, 3, "silu", 2)
    coarse = conv(layers.Concatenate()([coarse, layers.MaxPooling2D(5, 1, "same")(coarse)]), 64, 1, "silu")
    fine = conv(layers.Concatenate()([layers.UpSampling2D(2)(coarse), fine]), 32, 1, "silu")
    maps = [layers.Reshape((-1, 8))(layers.Conv2D(8, 1)(x)) for x in (fine, coarse)]
    predictions = layers.Concatenate(axis=1)(maps)
    boxes = layers.Identity(name="boxes")(predictions[..., :4])
    return keras.Model(image, [boxes, layers.Activation("sigmoid", name="scores")(predictions[..., 4:])])


def unet(size: int = 32) -> Any:
    """Down twice, up once by Conv2DTranspose and once by bilinear interpolation, with skips."""
    image = keras.Input((size, size, 3), name="image")
    first = conv(image, 16, 3, "relu")
    second = conv(layers.MaxPooling2D()(first), 32, 3, "relu")
    bottom = layers.LeakyReLU(0.1)(layers.Conv2D(64, 3, padding="same")(layers.MaxPooling2D()(second)))
    up = layers.Conv2DTranspose(32, 2, 2, "same")(bottom)
    after = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(32, 3, padding="same")(layers.Concatenate()([up, second])))
    wide = layers.UpSampling2D(2, interpolation="bilinear")(after)
    last = layers.GroupNormalization(4)(conv(layers.Concatenate()([wide, first]), 16, 3, "relu"))
    return keras.Model(image, layers.Conv2D(4, 1, activation="softmax", name="classes")(last))


def vit(width: int = 48, depth: int = 3) -> Any:
    """A small vision transformer that averages its tokens."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Reshape((16, width))(layers.Conv2D(width, 8, 8)(image))
    x = layers.Add()([x, layers.Embedding(16, width)(ops.arange(16))[None]])
    for _ in range(depth):
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(3, width // 3)(normal, normal)])
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Add()([x, layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(normal))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))
    return keras.Model(image, layers.Dense(10, name="scores")(x))


def recurrent(kind: Any) -> Any:
    """Two layers over audio frames, the first in both directions."""
    frames = keras.Input((20, 12), name="frames")
    x = kind(24)(layers.Bidirectional(kind(16, return_sequences=True))(frames))
    return keras.Model(frames, layers.Dense(5, activation="softmax", name="scores")(x))


def two_in_three_out() -> Any:
    """An image and token ids in; classes, a box and an embedding out."""
    image, tokens = keras.Input((32, 32, 3), name="image"), keras.Input((6,), dtype="int32", name="tokens")
    features = layers.GlobalAveragePooling2D()(conv(conv(image, 16, 3, "relu6", 2), 24, 3, "relu6", 2))
    words = layers.GlobalAveragePooling1D()(layers.Embedding(50, 24)(tokens))
    joined = layers.Concatenate()([features, words])
    outputs = [
        layers.Dense(7, activation="softmax", name="classes")(joined),
        layers.Dense(4, name="box")(joined),
        layers.UnitNormalization(name="features")(layers.Dense(8)(joined)),
    ]
    return keras.Model([image, tokens], outputs)


NETWORKS = {
    "mobilenet_v3": mobilenet_v3,
    "efficientnet_b0": efficientnet_b0,
    "yolo": yolo,
    "unet": unet,
    "vit": vit,
    "lstm": lambda: recurrent(layers.LSTM),
    "gru": lambda: recurrent(layers.GRU),
    "two_in_three_out": two_in_three_out,
}


_BOUNDS = {"gamma": (0.7, 1.3), "beta": (-0.3, 0.3), "moving_mean": (-0.3, 0.3), "moving_variance": (0.5, 1.5)}


def randomise(network: Any, random: np.random.Generator) -> None:
    """Statistics as training leaves them: a BatchNorm that does nothing would hide a mistake."""
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(random.uniform(*_BOUNDS[weight.name], weight.shape))


def save(name: str, folder: Path) -> None:
    """Write one network with its answers."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    network = NETWORKS[name]()
    randomise(network, random)
    samples = [_samples(tensor, random) for tensor in network.inputs]
    answers = network(samples if len(samples) > 1 else samples[0], training=False)
    answers = answers if isinstance(answers, Sequence) else [answers]
    given = {f"input:{i}": value for i, value in enumerate(samples)}
    wanted = {f"output:{i}": np.asarray(value) for i, value in enumerate(answers)}
    np.savez(folder / f"{name}-keras.npz", **given, **wanted)  # type: ignore[arg-type]
    network.save(folder / f"{name}-keras.keras")


def _samples(tensor: Any, random: np.random.Generator) -> Any:
    shape = (SAMPLES, *tensor.shape[1:])
    if tensor.name == "tokens":
        return random.integers(0, 50, shape).astype(np.int32)
    return random.standard_normal(shape).astype(np.float32)


if __name__ == "__main__":
    for each in NETWORKS:
        save(each, Path(sys.argv[1]))
