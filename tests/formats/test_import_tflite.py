"""TFLite files become Models: layers keep their names, narrow weights are widened, foreign ops are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.core.types import Layout
from edgekit.formats.importer import PARITY_LIMIT
from edgekit.ir.model import Model

Results = dict[str, dict[str, Any]]


def model(folder: Path, name: str) -> Model:
    return Model.load(folder / f"imported_{name}" / "model.onnx")


def kinds(network: Model) -> dict[str, str]:
    """Operator by node name, without the Transposes between TFLite's layout and ONNX'."""
    return {node.name or "": node.op_type for node in network.graph if node.op_type != "Transpose"}


@pytest.mark.parametrize("name", ["float", "half", "dynamic_range", "gelu", "gelu_tanh", "hard_swish", "open_fixed"])
def test_parity_with_the_interpreter(name: str, tensorflow_results: Results) -> None:
    answer = tensorflow_results[f"tflite_{name}"]
    assert answer.get("error") is None, answer
    assert answer["format"] == "tflite"
    assert answer["parity"]["runtime"].startswith("ai-edge-litert")
    assert answer["parity"]["max_relative"] <= PARITY_LIMIT


@pytest.mark.parametrize("name", ["float", "half"])
def test_ends_are_called_after_the_signature_and_nodes_after_layers(name: str, tensorflow_folder: Path) -> None:
    network = model(tensorflow_folder, f"tflite_{name}")
    assert [(spec.name, spec.shape, spec.layout) for spec in network.inputs] == [
        ("image", (None, 8, 8, 3), Layout.NHWC)
    ]
    assert [(spec.name, spec.shape) for spec in network.outputs] == [("output_0", (None, 3)), ("output_1", (None, 1))]
    ops = kinds(network)
    expected = {"stem": "Conv", "depthwise": "Conv", "residual": "Add", "scores": "MatMul", "value": "MatMul"}
    assert {layer: ops.get(layer) for layer in expected} == expected
    # What is fused into an operator of the file comes out as one of its own: ReLU6 is a Clip.
    assert {"Relu", "Clip", "Softmax"} <= set(ops.values())


def test_weights_in_eight_bits_are_the_float_network_s(tensorflow_results: Results, tensorflow_folder: Path) -> None:
    warning = tensorflow_results["tflite_dynamic_range"]["warnings"][0]
    assert "stores the weights of 1 layers in 8 bits" in warning
    assert not {"DequantizeLinear", "DynamicQuantizeLinear"} & set(
        kinds(model(tensorflow_folder, "tflite_dynamic_range")).values()
    )
    assert tensorflow_results["tflite_half"]["warnings"] == []


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("custom", "the custom op TFLite_Detection_PostProcess", "do that step in your program"),
        ("flex", "the TensorFlow op Asinh", "without SELECT_TF_OPS"),
        ("recurrent", "Loop", "Replace Loop"),
    ],
)
def test_what_is_not_part_of_tflite(name: str, cause: str, remedy: str, tensorflow_results: Results) -> None:
    answer = tensorflow_results[f"tflite_{name}"]
    assert answer["error"] == "UnsupportedOpError", answer
    assert cause in answer["cause"]
    assert remedy in answer["remedy"]


def test_open_sizes_are_asked_for_and_filled_in(tensorflow_folder: Path, tensorflow_results: Results) -> None:
    assert "--input-shape x=1,224,3" in tensorflow_results["tflite_open"]["remedy"]
    assert model(tensorflow_folder, "tflite_open_fixed").inputs[0].shape == (None, 5, 3)


@pytest.mark.acceptance
@pytest.mark.usefixtures("acceptance_data")
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("pretrainedResnet", {"conv2d": "Conv", "conv2d_8": "Conv", "dense": "MatMul", "dense/Softmax": "Softmax"}),
        ("vww_96_float", {"conv2d": "Conv", "depthwise_conv2d_12": "Conv", "dense": "MatMul"}),
        ("kws_ref_model_float32", {"conv2d_4": "Conv", "depthwise_conv2d_3": "Conv", "dense": "MatMul"}),
        ("ad01_fp32", {"dense": "MatMul", "dense_9": "MatMul", "dense_9/Add": "Add"}),
        ("keypoint_classifier", {"dense": "MatMul", "dense_1/Relu": "Relu", "dense_2/Softmax": "Softmax"}),
        ("point_history_classifier", {"dense": "MatMul", "dense_2": "MatMul"}),
    ],
)
def test_real_models(name: str, layers: dict[str, str], tensorflow_folder: Path, tensorflow_results: Results) -> None:
    assert tensorflow_results[name].get("error") is None, tensorflow_results[name]
    assert tensorflow_results[name]["parity"]["max_relative"] < 1e-5
    ops = kinds(model(tensorflow_folder, name))
    assert {layer: ops.get(layer) for layer in layers} == layers
