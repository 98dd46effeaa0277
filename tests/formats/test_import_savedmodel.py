"""SavedModel folders become Models by their signature; what does more than compute is refused before it runs."""

from __future__ import annotations

from collections import Counter
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
    """Operator by node name, without the Transposes between TensorFlow's layout and ONNX'."""
    return {node.name or "": node.op_type for node in network.graph if node.op_type != "Transpose"}


@pytest.mark.parametrize(
    "name", ["keras2", "keras3", "lstm", "default", "only", "several_with_default", "open_fixed", "v1", "start_up"]
)
def test_parity_with_tensorflow(name: str, tensorflow_results: Results) -> None:
    answer = tensorflow_results[name]
    assert answer.get("error") is None, answer
    assert answer["format"] == "savedmodel"
    assert answer["parity"]["runtime"].startswith("tensorflow 2")
    assert answer["parity"]["max_relative"] <= PARITY_LIMIT


def test_a_folder_with_an_optimizer_keeps_batch_norm_and_layer_names(tensorflow_folder: Path) -> None:
    network = model(tensorflow_folder, "keras2")
    assert [(spec.name, spec.shape, spec.layout) for spec in network.inputs] == [
        ("image", (None, 8, 8, 3), Layout.NHWC)
    ]
    assert [(spec.name, spec.shape) for spec in network.outputs] == [("scores", (None, 3)), ("value", (None, 1))]
    ops = kinds(network)
    expected = {
        "stem": "Conv", "stem_norm": "BatchNormalization", "stem_relu": "Relu", "depthwise": "Conv",
        "norm": "BatchNormalization", "residual": "Add", "scores": "MatMul", "scores/Softmax": "Softmax",
        "value": "MatMul",
    }  # fmt: skip
    assert {layer: ops.get(layer) for layer in expected} == expected


def test_keras_3_folders_have_layer_names_too(tensorflow_folder: Path) -> None:
    ops = kinds(model(tensorflow_folder, "keras3"))
    expected = {"stem": "Conv", "depthwise": "Conv", "residual": "Add", "scores": "MatMul"}
    assert {layer: ops.get(layer) for layer in expected} == expected


def test_a_recurrent_layer_is_one_operator(tensorflow_folder: Path) -> None:
    assert "LSTM" in kinds(model(tensorflow_folder, "lstm")).values()


def test_without_a_clear_signature_they_are_listed(tensorflow_results: Results) -> None:
    answer = tensorflow_results["several"]
    assert answer["error"] == "InvalidInputError"
    assert answer["cause"].endswith("predict, predict_open")


def test_open_sizes_are_asked_for_and_filled_in(tensorflow_folder: Path, tensorflow_results: Results) -> None:
    assert "--input-shape x=1,224,3" in tensorflow_results["open"]["remedy"]
    assert model(tensorflow_folder, "open_fixed").inputs[0].shape == (None, 5, 3)


def test_text_as_input(tensorflow_results: Results) -> None:
    assert tensorflow_results["text"]["error"] == "UnsupportedOpError"
    assert "'x' is of type string" in tensorflow_results["text"]["cause"]


def test_a_start_up_that_writes_is_not_run(tensorflow_results: Results) -> None:
    assert not tensorflow_results["start_up"]["written"]
    assert tensorflow_results["start_up"]["written_by_tensorflow"], "the trap is real"


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("write", "WriteFile"), ("read", "ReadFile"), ("branch", "WriteFile"), ("python", "PyFunc"),
        ("table", "HashTableV2"), ("restoring", "WriteFile"),
    ],
)  # fmt: skip
def test_a_graph_that_does_more_than_compute(name: str, op: str, tensorflow_results: Results) -> None:
    answer = tensorflow_results[name]
    assert answer["error"] == "InvalidInputError", answer
    assert answer["cause"].endswith(f"is a {op}")
    assert not tensorflow_results["program.written"]["written"]


def test_a_branch_that_depends_on_the_input(tensorflow_results: Results) -> None:
    assert tensorflow_results["data_dependent"]["error"] == "UnsupportedOpError"
    assert "'cond'" in tensorflow_results["data_dependent"]["cause"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("counting", "AssignAddVariableOp"), ("stateful_keras", "'gru' is a GRU"),
        ("stateful_tf_keras", "'gru' is a GRU"), ("tflite_variable", "VAR_HANDLE"),
    ],
)  # fmt: skip
def test_state_that_is_not_declared(name: str, layer: str, tensorflow_results: Results) -> None:
    answer = tensorflow_results[name]
    assert answer["error"] == "InvalidInputError", answer
    assert "keeps state between calls" in answer["cause"]
    assert layer in answer["cause"]
    assert "--state INPUT=OUTPUT" in answer["remedy"]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("cut_graph", "can't be parsed"), ("flooded_graph", "can't be parsed"), ("empty_graph", "no graph in it"),
        ("no_variables", "damaged"), ("cut_variables", "damaged"), ("cut_index", "damaged"),
        ("linked", "outside its own folder"),
    ],
)  # fmt: skip
def test_damaged_folders(name: str, cause: str, tensorflow_results: Results) -> None:
    assert tensorflow_results[name]["error"] == "InvalidInputError", tensorflow_results[name]
    assert cause in tensorflow_results[name]["cause"]


def test_graphs_that_contradict_themselves(tensorflow_results: Results) -> None:
    """Operators renamed, inputs and attributes taken away or swapped: an error of ours each time."""
    outcomes = Counter(outcome.get("error", "imported") for outcome in tensorflow_results["mutated"]["outcomes"])
    assert set(outcomes) <= {"imported", "InvalidInputError", "UnsupportedOpError"}, outcomes
    assert outcomes["InvalidInputError"] > 0


@pytest.mark.acceptance
@pytest.mark.usefixtures("acceptance_data")
def test_a_real_folder(tensorflow_folder: Path, tensorflow_results: Results) -> None:
    assert tensorflow_results["kws"]["parity"]["max_relative"] < 1e-5
    network = model(tensorflow_folder, "kws")
    assert Counter(node.op_type for node in network.graph)["BatchNormalization"] == 9
    assert {"conv2d", "depthwise_conv2d_3", "batch_normalization_8", "dense"} <= set(kinds(network))
