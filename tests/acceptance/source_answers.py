"""Prints how far an artifact's golden answers are from the source framework's: one relative difference an output.

Usage: source_answers.py SOURCE GOLDEN.npz. Knows nothing of edgekit but the keys of golden.npz.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(source: Path, golden_file: Path) -> None:
    """Run the source on the golden inputs and compare."""
    golden = np.load(golden_file)
    inputs = [golden[name] for name in golden.files if name.startswith("input:")]
    given = [golden[name] for name in golden.files if name.startswith("output:")]
    read = {".onnx": _onnx, ".tflite": _tflite, "": _savedmodel}.get(source.suffix, _keras)
    wanted = read(source, inputs)
    print(json.dumps([_difference(a, b) for a, b in zip(given, wanted, strict=True)]))


def _onnx(source: Path, inputs: list[Any]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    images = inputs[0] if list(inputs[0].shape[1:]) == shape[1:] else inputs[0].transpose(0, 3, 1, 2)
    answers = [session.run(None, {name: image[None]}) for image in images]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _keras(source: Path, inputs: list[Any]) -> list[Any]:
    import keras

    try:
        model = keras.models.load_model(source, compile=False)
    except (TypeError, ValueError):
        import tf_keras

        model = tf_keras.models.load_model(source, compile=False)
    answers = model(*inputs)
    return [np.asarray(answer) for answer in (answers if isinstance(answers, list | tuple) else [answers])]


def _tflite(source: Path, inputs: list[Any]) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(source))
    interpreter.allocate_tensors()
    (given,), wanted = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for sample in inputs[0]:
        interpreter.set_tensor(given["index"], sample[None])
        interpreter.invoke()
        answers.append([interpreter.get_tensor(output["index"]) for output in wanted])
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _savedmodel(source: Path, inputs: list[Any]) -> list[Any]:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(source)).signature_def["serving_default"]
        feeds = {
            info.name: value.reshape(-1, *(size.size for size in info.tensor_shape.dim[1:]))
            for info, value in zip(signature.inputs.values(), inputs, strict=True)
        }
        return list(session.run([info.name for info in signature.outputs.values()], feeds))


def _difference(given: Any, wanted: Any) -> float:
    given = given.reshape(wanted.shape)
    return float(np.abs(given - wanted).max() / max(np.abs(wanted).max(), 1e-6))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
