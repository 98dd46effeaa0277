"""Makes Keras files, imports them, and writes what came of it to results.json. Run as a script: TensorFlow loads once.

Usage: keras_scenarios.py OUT [ACCEPTANCE_DATA]
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras

from edgekit.core.errors import EdgekitError
from edgekit.formats.importer import import_model

MUTATIONS = 40
Results = dict[str, dict[str, Any]]

CUSTOM_LAYER = """
import keras

class Shift(keras.layers.Layer):
    def __init__(self, by=1.0, **options):
        super().__init__(**options)
        self.by = by

    def call(self, inputs):
        return inputs + self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}

CUSTOM = {"Shift": Shift}
"""


def main(out: Path, acceptance: Path | None) -> None:
    results: Results = {}
    (out / "my_layers.py").write_text(CUSTOM_LAYER)
    os.chdir(out)
    for scenario in (architectures, open_sizes, broken_weights, code, custom_layers, damaged):
        scenario(out, results)
    if acceptance:
        real_models(out, results, acceptance)
    (out / "results.json").write_text(json.dumps(results))


def attempt(results: Results, name: str, path: Path, **options: Any) -> None:
    """Import `path` into a folder called `name`; note the answer or the error."""
    folder = path.parent / name
    folder.mkdir()
    started = time.process_time()
    try:
        results[name] = import_model(str(path), str(folder), **options)
    except EdgekitError as error:
        results[name] = error.to_dict()
    except Exception:  # noqa: BLE001 - what the tests must never see
        results[name] = {"error": "unhandled", "cause": traceback.format_exc()}
    results[name]["seconds"] = time.process_time() - started
    keras.backend.clear_session()


def small_cnn(library: Any) -> Any:
    """Two inputs, two outputs, a nested model, depthwise and separable convolutions, a residual, a shared layer."""
    layers = library.layers
    block_in = library.Input((8, 8, 4))
    block = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(block_in)
    block = layers.BatchNormalization(name="norm")(block)
    block = library.Model(block_in, layers.ReLU(6.0, name="relu6")(block), name="block")
    image, side = library.Input((16, 16, 3), name="image"), library.Input((6,), name="side")
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(scale=False, name="stem_norm")(x)
    x = layers.Activation("relu", name="stem_relu")(x)
    x = layers.Add(name="residual")([x, block(x)])
    x = layers.SeparableConv2D(4, 3, activation="swish", name="separable")(x)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    shared = layers.Dense(4, activation="tanh", name="shared")
    head = layers.Concatenate(name="join")([shared(pooled), shared(layers.Dense(4, name="widen")(side))])
    head = layers.Dropout(0.5, name="drop")(head)
    scores = layers.Dense(3, activation="softmax", name="scores")(head)
    value = layers.Dense(1, name="value")(layers.Flatten(name="flatten")(x))
    return trained(library.Model([image, side], [scores, value]))


def mlp(library: Any) -> Any:
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((6,), name="features"),
            layers.Dense(8, name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.LeakyReLU(name="leaky"),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )
    return trained(model)


def trained(model: Any) -> Any:
    """Random weights instead of initial ones, so that no BatchNorm is the identity."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


def architectures(out: Path, results: Results) -> None:
    own = keras.layers.BatchNormalization.call
    for name, library, make in (
        ("cnn", keras, small_cnn),
        ("cnn_tf_keras", tf_keras, small_cnn),
        ("mlp", keras, mlp),
    ):
        for suffix in (".keras", ".h5"):
            path = out / f"{name}{suffix}"
            make(library).save(path)
            attempt(results, path.name.replace(".", "_"), path)
    results["classes are as before"] = {"restored": keras.layers.BatchNormalization.call is own}


def open_sizes(out: Path, results: Results) -> None:
    model = keras.Sequential([keras.Input((None, None, 3), name="image"), keras.layers.Conv2D(2, 3, name="conv")])
    path = out / "open.keras"
    trained(model).save(path)
    attempt(results, "open", path)
    attempt(results, "open_fixed", path, input_shapes={"image": [1, 12, 10, 3]})
    attempt(results, "open_wrong_name", path, input_shapes={"photo": [1, 12, 10, 3]})
    attempt(results, "open_wrong_rank", path, input_shapes={"image": [1, 12, 10]})


def broken_weights(out: Path, results: Results) -> None:
    for name, value in (("nan", np.nan), ("zero", 0.0)):
        model = mlp(keras)
        kernel = model.get_layer("classes").kernel
        for weight in model.weights if name == "zero" else [kernel]:
            weight.assign(np.full(weight.shape, value))
        path = out / f"{name}.keras"
        model.save(path)
        attempt(results, name, path)
    path = out / "only.weights.h5"
    mlp(keras).save_weights(path)
    attempt(results, "weights_only", path)


def code(out: Path, results: Results) -> None:
    """Lambdas that write a file, and an op layer that would."""
    for library, suffix in ((keras, ".keras"), (keras, ".h5"), (tf_keras, ".h5")):
        name = f"lambda_{library.__name__}{suffix.replace('.', '_')}"
        mark, path = out / f"{name}.written", out / f"{name}{suffix}"
        inputs = library.Input((4,))
        # The code reads nothing but the constants in it, as a marshalled function must.
        function = eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]")
        outputs = library.layers.Lambda(function, output_shape=(4,), name="trojan")(inputs)
        trained(library.Model(inputs, library.layers.Dense(2)(outputs))).save(path)
        mark.unlink(missing_ok=True)
        attempt(results, name, path)
        results[name]["written"] = mark.exists()
        attempt(results, f"{name}_trusted", path, trust_model=True)
        results[f"{name}_trusted"]["written"] = mark.exists()
    inputs = tf_keras.Input((4,))
    path = out / "op_layer.h5"
    trained(tf_keras.Model(inputs, tf_keras.layers.Dense(2)(tf.nn.relu(inputs * 2.0)))).save(path)
    attempt(results, "op_layer", path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("nn.relu", "io.write_file")
    attempt(results, "op_layer_that_writes", path)


def custom_layers(out: Path, results: Results) -> None:
    spec = importlib.util.spec_from_file_location("my_layers", out / "my_layers.py")
    assert spec is not None
    assert spec.loader is not None
    my_layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(my_layers)
    inputs = keras.Input((4,))
    path = out / "custom.keras"
    trained(keras.Model(inputs, keras.layers.Dense(2)(my_layers.Shift(2.0, name="shift")(inputs)))).save(path)
    attempt(results, "custom_missing", path)
    attempt(results, "custom_dict", path, custom_objects="my_layers:CUSTOM")
    attempt(results, "custom_class", path, custom_objects="my_layers:Shift")
    attempt(results, "custom_wrong", path, custom_objects="my_layers:Absent")


def damaged(out: Path, results: Results) -> None:
    """Random bytes changed: each import ends in parity or in an error of ours."""
    rng = random.Random(0)
    outcomes: list[dict[str, Any]] = []
    for suffix in (".h5", ".keras"):
        whole = (out / f"mlp{suffix}").read_bytes()
        (out / f"cut{suffix}").write_bytes(whole[: len(whole) // 2])
        attempt(results, f"cut_{suffix[1:]}", out / f"cut{suffix}")
        for i in range(MUTATIONS // 2):
            content = bytearray(whole)
            for _ in range(rng.randint(1, 8)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path = out / f"mutated{suffix}"
            path.write_bytes(content)
            found: Results = {}
            attempt(found, f"mutated_{suffix[1:]}_{i}", path)
            outcomes += found.values()
    results["mutated"] = {"outcomes": outcomes}


def real_models(out: Path, results: Results, data: Path) -> None:
    for path in sorted([*data.glob("mlperf_tiny_models/*.h5"), *data.glob("hand_gesture/*.hdf5")]):
        link = out / path.name
        link.symlink_to(path)
        attempt(results, path.stem, link)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
