"""Keras files become Models: BatchNorm and layer names survive, both Kerases answer, code is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.types import Layout
from edgekit.formats.importer import PARITY_LIMIT
from edgekit.ir.model import Model

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scenarios left their files: one process, since TensorFlow takes seconds to load."""
    out = tmp_path_factory.mktemp("keras")
    script = Path(__file__).with_name("keras_scenarios.py")
    data = os.environ.get("EDGEKIT_ACCEPTANCE_DATA")
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, str(script), str(out), *([data] if data else [])],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    answers: Results = json.loads((folder / "results.json").read_text())
    return answers


def model(folder: Path, name: str) -> Model:
    return Model.load(folder / name / "model.onnx")


def kinds(model: Model) -> dict[str, str]:
    """Operator by node name, without the Transposes between Keras' layout and ONNX'."""
    return {node.name or "": node.op_type for node in model.graph if node.op_type != "Transpose"}


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("cnn_keras", "keras 3"), ("cnn_h5", "keras 3"), ("cnn_tf_keras_keras", "tf_keras"),
        ("cnn_tf_keras_h5", "tf_keras"),
    ],
)  # fmt: skip
def test_a_network_with_everything(name: str, library: str, folder: Path, results: Results) -> None:
    assert results[name].get("error") is None, results[name]
    assert results[name]["parity"]["max_relative"] <= PARITY_LIMIT
    assert results[name]["parity"]["runtime"].startswith(library)
    network = model(folder, name)
    assert [(spec.name, spec.shape, spec.layout) for spec in network.inputs] == [
        ("image", (None, 16, 16, 3), Layout.NHWC),
        ("side", (None, 6), Layout.NC),
    ]
    assert [(spec.name, spec.shape) for spec in network.outputs] == [("scores", (None, 3)), ("value", (None, 1))]
    ops = kinds(network)
    expected = {
        "stem": "Conv", "stem_norm": "BatchNormalization", "stem_relu": "Relu", "block/depthwise": "Conv",
        "block/norm": "BatchNormalization", "residual": "Add", "shared": "MatMul", "shared/MatMul": "MatMul",
        "join": "Concat", "scores": "MatMul", "scores/Softmax": "Softmax", "value": "MatMul", "flatten": "Reshape",
    }  # fmt: skip
    assert {layer: ops.get(layer) for layer in expected} == expected


@pytest.mark.parametrize("name", ["mlp_keras", "mlp_h5"])
def test_batch_norm_on_features_is_one_node(name: str, folder: Path, results: Results) -> None:
    assert results[name]["parity"]["max_relative"] <= PARITY_LIMIT
    ops = kinds(model(folder, name))
    assert ops == {
        "hidden": "MatMul", "hidden/Add": "Add", "norm": "BatchNormalization", "leaky": "LeakyRelu",
        "classes": "MatMul", "classes/Add": "Add", "classes/Softmax": "Softmax",
    }  # fmt: skip


def test_keras_is_left_as_it_was(results: Results) -> None:
    assert results["classes are as before"]["restored"]


def test_open_sizes(folder: Path, results: Results) -> None:
    assert "--input-shape image=1,224,224,3" in results["open"]["remedy"]
    assert model(folder, "open_fixed").inputs[0].shape == (None, 12, 10, 3)
    assert results["open_wrong_name"]["blame"] == "your --input-shape"
    assert "contradicts the model's own ?×?×?×3" in results["open_wrong_rank"]["cause"]


@pytest.mark.parametrize(
    ("name", "cause"),
    [("nan", "'classes/kernel' hold 24 NaN"), ("zero", "every weight"), ("weights_only", "but no model")],
)
def test_weights_that_are_no_weights(name: str, cause: str, results: Results) -> None:
    assert results[name]["error"] == "InvalidInputError"
    assert cause in results[name]["cause"]


@pytest.mark.parametrize("name", ["lambda_keras_keras", "lambda_keras_h5", "lambda_tf_keras_h5"])
def test_a_lambda_that_would_write_a_file_does_not(name: str, results: Results) -> None:
    assert results[name]["error"] == "InvalidInputError"
    assert "'trojan' of type Lambda" in results[name]["cause"]
    assert "--trust-model" in results[name]["remedy"]
    assert not results[name]["written"]
    trusted = results[f"{name}_trusted"]
    assert trusted["written"], "the trap is real: the same file, trusted, writes"
    assert trusted["parity"]["max_relative"] <= PARITY_LIMIT


def test_an_op_layer_may_compute_but_not_write(results: Results) -> None:
    assert results["op_layer"]["parity"]["runtime"].startswith("tf_keras")
    assert "io.write_file" in results["op_layer_that_writes"]["cause"]


def test_custom_layers_come_by_flag(results: Results) -> None:
    assert "--custom-objects my_layers:Shift" in results["custom_missing"]["remedy"]
    for name in ("custom_dict", "custom_class"):
        assert results[name]["parity"]["max_relative"] <= PARITY_LIMIT
    assert results["custom_wrong"]["blame"] == "your --custom-objects"


def test_damaged_files_end_in_parity_or_in_an_error_of_ours(results: Results) -> None:
    outcomes = Counter(outcome.get("error", "imported") for outcome in results["mutated"]["outcomes"])
    assert set(outcomes) <= {"imported", "InvalidInputError", "UnsupportedOpError"}, outcomes
    assert outcomes["imported"] > 0
    for name in ("cut_h5", "cut_keras"):
        assert "damaged" in results[name]["cause"]


@pytest.mark.acceptance
@pytest.mark.usefixtures("acceptance_data")
@pytest.mark.parametrize(
    ("name", "library", "norms"),
    [
        ("pretrainedResnet", "keras 3", 7),
        ("vww_96", "tf_keras", 27),
        ("str_ww_ref_model", "tf_keras", 4),
        ("ad01", "keras 3", 9),
        ("keypoint_classifier", "keras 3", 0),
        ("point_history_classifier", "keras 3", 0),
    ],
)
def test_real_models(name: str, library: str, norms: int, folder: Path, results: Results) -> None:
    assert results[name].get("error") is None, results[name]
    assert results[name]["parity"]["runtime"].startswith(library)
    assert results[name]["parity"]["max_relative"] < 1e-5
    assert Counter(node.op_type for node in model(folder, name).graph)["BatchNormalization"] == norms
