"""Makes SavedModels and .tflite files, imports them, and writes what came of it to results.json. Run as a script.

Usage: tensorflow_scenarios.py OUT [ACCEPTANCE_DATA]
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2

from edgekit.core.errors import EdgekitError
from edgekit.formats.importer import import_model
from edgekit.formats.tflite import flatbuffer

MUTATIONS = 40
Results = dict[str, dict[str, Any]]


def main(out: Path, acceptance: Path | None) -> None:
    results: Results = {}
    for scenario in (keras_folders, signatures, graphs_of_old, programs, state, damaged_folders, tflite_files):
        scenario(out, results)
    if acceptance:
        real_models(out, results, acceptance)
    (out / "results.json").write_text(json.dumps(results))


def attempt(results: Results, name: str, path: Path, **options: Any) -> None:
    """Import `path` into a folder called `name`; note the answer or the error."""
    folder = results_folder(path.parent, name)
    try:
        results[name] = import_model(str(path), str(folder), **options)
    except EdgekitError as error:
        results[name] = error.to_dict()
    except Exception:  # noqa: BLE001 - what the tests must never see
        results[name] = {"error": "unhandled", "cause": traceback.format_exc()}


def results_folder(out: Path, name: str) -> Path:
    folder = out / f"imported_{name}"
    folder.mkdir()
    return folder


def small_cnn(library: Any) -> Any:
    """Convolution, BatchNorm, depthwise convolution, a residual and two outputs; weights at random."""
    layers = library.layers
    image = library.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.ReLU(6.0, name="relu6")(layers.BatchNormalization(name="norm")(y))
    x = layers.Add(name="residual")([x, y])
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    scores = layers.Dense(3, activation="softmax", name="scores")(pooled)
    value = layers.Dense(1, name="value")(pooled)
    return trained(library.Model(image, [scores, value], name="classifier"))


def trained(model: Any) -> Any:
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


def keras_folders(out: Path, results: Results) -> None:
    """Both Kerases' folders; the older one's with an optimizer that has state."""
    model = small_cnn(tf_keras)
    model.compile(tf_keras.optimizers.Adam(), loss=["sparse_categorical_crossentropy", "mse"])
    model.fit(np.zeros((2, 8, 8, 3)), [np.zeros(2), np.zeros(2)], verbose=0)
    model.save(out / "keras2", save_format="tf")
    attempt(results, "keras2", out / "keras2")
    small_cnn(keras).export(out / "keras3", verbose=False)
    attempt(results, "keras3", out / "keras3")
    recurrent = trained(
        tf_keras.Sequential([tf_keras.Input((6, 3), name="steps"), tf_keras.layers.LSTM(4, name="lstm")])
    )
    recurrent.save(out / "lstm", save_format="tf")
    attempt(results, "lstm", out / "lstm")


class Dense(tf.Module):  # type: ignore[misc]
    """A matrix product with whatever else a scenario wants to go on in the same graph."""

    def __init__(self, beside: Callable[[tf.Tensor], tf.Tensor] = tf.identity) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(0).standard_normal((3, 2), np.float32), name="kernel")
        self.calls = tf.Variable(0.0, name="calls")
        self.plain = self.signature(
            lambda x: tf.nn.relu(tf.matmul(beside(x), self.kernel), name="head/Relu"), (None, 3)
        )
        self.open = self.signature(lambda x: tf.reduce_sum(tf.matmul(x, self.kernel[None]), axis=1), (None, None, 3))
        self.count = self.signature(lambda x: tf.matmul(x, self.kernel) + self.calls.assign_add(1.0), (None, 3))
        self.text = self.signature(lambda x: tf.strings.to_number(x)[:, None] * self.kernel[:1], (None,), tf.string)

    def signature(
        self, function: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int | None, ...], dtype: Any = tf.float32
    ) -> Any:
        return tf.function(lambda x: {"y": function(x)}, input_signature=[tf.TensorSpec(shape, dtype, name="x")])


def save(out: Path, name: str, module: Dense, signatures: Mapping[str, Any] | None = None) -> Path:
    tf.saved_model.save(module, out / name, signatures=signatures or {"serving_default": module.plain})
    return out / name


def signatures(out: Path, results: Results) -> None:
    module = Dense()
    attempt(results, "default", save(out, "default", module))
    attempt(results, "only", save(out, "only", module, {"predict": module.plain}))
    several = {"predict": module.plain, "predict_open": module.open}
    attempt(results, "several", save(out, "several", module, several))
    attempt(results, "several_with_default", save(out, "swd", module, {**several, "serving_default": module.plain}))
    path = save(out, "open", module, {"serving_default": module.open})
    attempt(results, "open", path)
    attempt(results, "open_fixed", path, input_shapes={"x": [1, 5, 3]})
    attempt(results, "text", save(out, "text", module, {"serving_default": module.text}))


def graphs_of_old(out: Path, results: Results) -> None:
    """TensorFlow 1: reference variables, a switch for training, and a start-up that would write a file."""
    v1 = tf.compat.v1
    mark = out / "start-up.written"
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, (None, 3), "x")
        training = v1.placeholder_with_default(False, (), "training")
        kernel = v1.get_variable("fc/kernel", (3, 2), use_resource=False, initializer=v1.ones_initializer())
        product = tf.matmul(x, kernel, name="fc/MatMul")
        y = tf.where(training, tf.zeros_like(product), product, name="out")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(out / "v1"), {"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(out / "start_up"))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        write = tf.io.write_file(str(mark), "x")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=write)
        builder.save()
    attempt(results, "v1", out / "v1")
    attempt(results, "start_up", out / "start_up")
    results["start_up"]["written"] = mark.exists()
    # The trap is real: TensorFlow's own loader writes.
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.saved_model.load(session, ["serve"], str(out / "start_up"))
    results["start_up"]["written_by_tensorflow"] = mark.exists()


def programs(out: Path, results: Results) -> None:
    """Graphs that do more than compute."""
    mark = out / "program.written"

    def write(x: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.io.write_file(str(mark), "x")]):
            return tf.identity(x)

    def read(x: tf.Tensor) -> tf.Tensor:
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    def branch(x: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_sum(x) > 1e9, lambda: write(x), lambda: x)

    def python(x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), (None, 3))

    for function in (write, read, branch, python):
        attempt(results, function.__name__, save(out, function.__name__, Dense(function)))
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant([0], tf.int64), [1.0]), 0.0)
    module = Dense(lambda x: x + table.lookup(tf.cast(x, tf.int64)))
    module.table = table
    attempt(results, "table", save(out, "table", module))
    attempt(
        results,
        "data_dependent",
        save(out, "data_dependent", Dense(lambda x: tf.cond(x[0, 0] > 0, lambda: x, lambda: -x))),
    )
    restoring(out, results, mark)
    results["program.written"] = {"written": mark.exists()}


def restoring(out: Path, results: Results, mark: Path) -> None:
    """The function that restores the variables writes a file as well."""
    path = save(out, "restoring", Dense())
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((path / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0].graph_def
    name = message.meta_graphs[0].saver_def.restore_op_name
    restore = next(node for node in graph.node if node.name == name).attr["f"].func.name
    body = next(function for function in graph.library.function if function.signature.name == restore)
    for label, value in (("where", str(mark)), ("what", "x")):
        constant = body.node_def.add(name=label, op="Const")
        constant.attr["dtype"].type = tf.string.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    body.node_def.add(name="write", op="WriteFile", input=["where:output:0", "what:output:0"])
    (path / "saved_model.pb").write_bytes(message.SerializeToString())
    attempt(results, "restoring", path)


def state(out: Path, results: Results) -> None:
    module = Dense()
    attempt(results, "counting", save(out, "counting", module, {"serving_default": module.count}))
    for library, suffix in ((keras, ".keras"), (tf_keras, ".h5")):
        inputs = library.Input(batch_shape=(1, 6, 3), name="steps")
        model = trained(library.Model(inputs, library.layers.GRU(4, stateful=True, name="gru")(inputs)))
        path = out / f"stateful_{library.__name__}{suffix}"
        model.save(path)
        attempt(results, path.stem, path)


def damaged_folders(out: Path, results: Results) -> None:
    for name, damage in DAMAGES.items():
        path = out / name
        shutil.copytree(out / "default", path)
        damage(path)
        attempt(results, name, path)
    contradictions(out, results)


def contradictions(out: Path, results: Results) -> None:
    """Graphs with a few nodes changed at random."""
    rng, path = random.Random(0), out / "mutated"
    shutil.copytree(out / "default", path)
    whole = (path / "saved_model.pb").read_bytes()
    outcomes: Results = {}
    for i in range(MUTATIONS):
        message = saved_model_pb2.SavedModel()
        message.ParseFromString(whole)
        graph = message.meta_graphs[0].graph_def
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        for _ in range(rng.randint(1, 4)):
            change(rng, rng.choice(nodes), rng.choice(nodes))
        (path / "saved_model.pb").write_bytes(message.SerializeToString())
        attempt(outcomes, f"mutated_{i}", path)
    results["mutated"] = {"outcomes": list(outcomes.values())}


def change(rng: random.Random, node: Any, other: Any) -> None:
    kind = rng.choice(["op", "name", "input", "attribute", "type"])
    if kind in ("op", "name"):
        setattr(node, kind, getattr(other, kind))
    elif kind == "input" and node.input:
        node.input[rng.randrange(len(node.input))] = other.name
    elif kind == "attribute" and node.attr:
        del node.attr[rng.choice(sorted(node.attr))]
    elif kind == "type" and node.attr and other.attr:
        node.attr[rng.choice(sorted(node.attr))].CopyFrom(other.attr[rng.choice(sorted(other.attr))])


def cut(file: Path, part: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])


def flood(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 64] = b"\xff" * 64
    file.write_bytes(content)


def link_variables(path: Path) -> None:
    shutil.move(path / "variables", path.parent / "elsewhere")
    (path / "variables").symlink_to(path.parent / "elsewhere")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut_graph": lambda path: cut(path / "saved_model.pb", 0.5),
    "flooded_graph": lambda path: flood(path / "saved_model.pb"),
    "empty_graph": lambda path: (path / "saved_model.pb").write_bytes(b""),
    "no_variables": lambda path: shutil.rmtree(path / "variables"),
    "cut_variables": lambda path: cut(next((path / "variables").glob("*.data-*")), 0.3),
    "cut_index": lambda path: cut(path / "variables" / "variables.index", 0.5),
    "linked": link_variables,
}


def tflite_files(out: Path, results: Results) -> None:
    model = small_cnn(keras)
    whole = convert(model)
    for name, content in {
        "float": whole,
        "half": convert(model, optimizations=[tf.lite.Optimize.DEFAULT], types=[tf.float16]),
        "dynamic_range": convert(large_dense(), optimizations=[tf.lite.Optimize.DEFAULT]),
        "custom": custom(whole, "TFLite_Detection_PostProcess"),
        "flex": custom(whole, "FlexAsinh"),
        "variable": converted(tf.lite.TFLiteConverter.from_saved_model(str(out / "counting")), [], []),
        "recurrent": convert(trained(keras.Sequential([keras.Input(batch_shape=(1, 6, 3)), keras.layers.LSTM(4)]))),
        "gelu": convert_function(lambda x: tf.nn.gelu(x, approximate=False)),
        "gelu_tanh": convert_function(lambda x: tf.nn.gelu(x, approximate=True)),
        "hard_swish": convert_function(lambda x: x * tf.nn.relu6(x + 3.0) / 6.0),
        "open": convert_function(lambda x: tf.reduce_max(x, axis=1), shape=(None, None, 3)),
    }.items():
        path = out / f"{name}.tflite"
        path.write_bytes(content)
        attempt(results, f"tflite_{name}", path)
    attempt(results, "tflite_open_fixed", out / "open.tflite", input_shapes={"x": [1, 5, 3]})


def large_dense() -> Any:
    """Layers that the converter finds worth storing in eight bits."""
    layers = [keras.Input((64,), name="x"), keras.layers.Dense(64, activation="relu", name="fc"), keras.layers.Dense(4)]
    model = keras.Sequential(layers)
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(weight.shape) for weight in model.get_weights()])
    return model


def convert(model: Any, optimizations: list[Any] | None = None, types: list[Any] | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    return converted(converter, optimizations or [], types or [])


def convert_function(function: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int | None, ...] = (1, 3)) -> bytes:
    module = tf.Module()
    module.scale = tf.constant(np.linspace(0.5, 1.5, 3, dtype=np.float32))
    module.call = tf.function(
        lambda x: {"y": function(x * module.scale)}, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
    return converted(converter, [], [])


def converted(converter: Any, optimizations: list[Any], types: list[Any]) -> bytes:
    converter.optimizations = optimizations
    converter.target_spec.supported_types = types
    converter.experimental_enable_resource_variables = True
    content: bytes = converter.convert()
    return content


def custom(content: bytes, name: str) -> bytes:
    """The file with its softmax under the name of an op that is not part of TFLite."""
    file = flatbuffer.read(content)
    code = file.operatorCodes[file.subgraphs[0].operators[flatbuffer.op_names(file).index("SOFTMAX")].opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, name
    return flatbuffer.write(file)


def real_models(out: Path, results: Results, data: Path) -> None:
    folder = data / "mlperf_tiny_models"
    (out / "kws").symlink_to(folder / "kws_ref_model")
    attempt(results, "kws", out / "kws")
    for path in sorted([*folder.glob("*.tflite"), *data.glob("hand_gesture/*.tflite")]):
        (out / path.name).symlink_to(path)
        attempt(results, path.stem, out / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
