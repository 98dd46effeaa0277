"""Builds of small networks with what real ones have: several inputs and outputs, batches, own metrics, no data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import UnsupportedOpError, UsageError
from edgekit.pipeline.build import build

_BOTH = ["raspberry-pi-4", "intel-cpu"]


def _model(path: Path) -> Path:
    """An NCHW image and a vector in; class probabilities and two values out; weights that are not tiny."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        return numpy_helper.from_array(values, name)

    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["vector", "v"], ["side"], name="side", transB=1),
        helper.make_node("Concat", ["flat", "side"], ["both"], name="concat", axis=1),
        helper.make_node("Gemm", ["both", "c"], ["logits"], name="classes_dense", transB=1),
        helper.make_node("Softmax", ["logits"], ["classes"], name="softmax", axis=1),
        helper.make_node("Gemm", ["both", "d"], ["values"], name="values_dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "two_in_two_out",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16]),
            helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 6]),
        ],
        [
            helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", 2]),
        ],
        [weight("w", 16, 3, 3, 3), weight("v", 16, 6), weight("c", 4, 32), weight("d", 2, 32)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def _data(path: Path, model: Path, n: int = 400) -> Path:
    """Samples whose targets are the model's own answers, so that the float model is right."""
    import onnxruntime

    random = np.random.default_rng(1)
    image = random.normal(0, 1, (n, 3, 16, 16)).astype(np.float32) * random.uniform(0.2, 3, (n, 1, 1, 1))
    feeds = {"image": image.astype(np.float32), "vector": random.normal(0, 1, (n, 6)).astype(np.float32)}
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    classes, values = session.run(["classes", "values"], feeds)
    arrays: dict[str, Any] = {**feeds, "y_classes": classes.argmax(axis=1), "y_values": values}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("build")
    _data(home / "data.npz", _model(home / "model.onnx"))
    return home


def _build(home: Path, out: str, targets: list[str] | None = None, **sections: dict[str, Any]) -> Any:
    flags = {"data": {"data": str(home / "data.npz")}, **sections}
    return build(str(home / "model.onnx"), targets or _BOTH, flags=flags, out=home / out)


def test_several_inputs_and_outputs_in_batches_of_four(home):
    report = _build(home, "batch", precision={"precision": "int8"}, run={"batch": 4}, gates={"max_drop": 5.0})
    assert report.exit_code in {0, 5}, report.targets
    for target in report.targets:
        assert target.error is None
        names = {metric.name for metric in target.metrics}
        assert {"top1:classes", "r2:values", "mae:values"} <= names
        manifest = json.loads((home / "batch" / target.target / "manifest.json").read_text())
        inputs = {spec["name"]: spec for spec in manifest["artifact"]["inputs"]}
        assert inputs["vector"]["shape"] == [4, 6]
        # TFLite takes images as NHWC, whatever the source; the manifest says so.
        layout = "NHWC" if target.backend == "tflite" else "NCHW"
        assert inputs["image"]["layout"] == layout


def test_the_users_metric_comes_first_and_is_gated(home, monkeypatch, tmp_path):
    (tmp_path / "metric_of_the_build.py").write_text(
        "def score(outputs, targets):\n"
        "    return 100 - 100 * float(abs(outputs['values'] - targets['values']).mean())\n"
    )
    monkeypatch.chdir(tmp_path)
    data = {"data": str(home / "data.npz"), "metric": "metric_of_the_build:score"}
    report = _build(home, "metric", ["intel-cpu"], data=data, precision={"precision": "fp32"})
    first = report.targets[0].metrics[0]
    assert (first.name, first.float) == ("score", pytest.approx(100, abs=1e-3))
    assert abs(first.drop) < 0.01


def test_without_data_int8_is_not_chosen_and_accuracy_is_unproven(home):
    report = _build(home, "none", data={"none": True})
    assert report.exit_code == 0
    assert report.passed is None
    for target in report.targets:
        assert target.precision in {"fp16", "fp32"}
        assert target.metrics == ()
        assert target.gates[0].passed is None


def test_an_unproven_gate_that_was_asked_for_ends_with_12(home):
    report = _build(home, "asked", ["raspberry-pi-4"], gates={"min_speedup": 1.0}, precision={"precision": "fp32"})
    assert report.exit_code == 12
    gate = next(gate for gate in report.targets[0].gates if gate.name == "min-speedup")
    assert gate.passed is None


def test_auto_takes_nothing_that_is_larger_than_float(home):
    for target in _build(home, "small").targets:
        assert target.error is None
        assert target.bytes <= target.float_bytes
        assert target.download_bytes <= target.float_download_bytes < target.float_bytes
        for row in target.candidates[:-1]:
            assert "error" in row or not (row["accurate"] and row["cheap"] and row["small"])


def test_two_targets_of_one_name_are_refused(home, tmp_path):
    own = tmp_path / "intel-cpu.toml"
    own.write_text((Path(__file__).parents[2] / "targets" / "intel-cpu.toml").read_text())
    with pytest.raises(UsageError, match="two of the targets are called intel-cpu"):
        _build(home, "twice", ["intel-cpu", str(own)])


def test_a_recipe_of_another_model_is_refused(home, tmp_path):
    recipe = tmp_path / "edgekit.toml"
    (tmp_path / "other.onnx").write_bytes((home / "model.onnx").read_bytes())
    recipe.write_text('[model]\npath = "other.onnx"\n[data]\nnone = true\n')
    with pytest.raises(UsageError, match=r"other\.onnx"):
        build(str(home / "model.onnx"), ["intel-cpu"], recipe=recipe, out=tmp_path / "out")


def test_a_metric_in_its_own_unit_may_lose_one_percent():
    """A share of 0..1 under a limit of 1 could lose everything."""
    from edgekit.core.evidence import Metric
    from edgekit.report.gates import inside_accuracy

    def share(artifact: float) -> list[Metric]:
        return [Metric("mine", "", True, "report", 100, 0.9, artifact, 0.9 - artifact)]

    assert inside_accuracy(share(0.895), None)
    assert not inside_accuracy(share(0.85), None)
    assert inside_accuracy(share(0.85), 0.1)


def test_a_size_gate_fails_with_5_and_still_writes_the_folder(home):
    report = _build(home, "size", ["intel-cpu"], gates={"max_size_bytes": 10}, precision={"precision": "fp32"})
    assert (report.exit_code, report.passed) == (5, False)
    assert (home / "size" / "intel-cpu" / "model.xml").exists()


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integer_inputs_and_outputs(home, io):
    report = _build(home, io, ["raspberry-pi-4"], precision={"precision": "int8", "io": io}, gates={"max_drop": 10.0})
    target = report.targets[0]
    assert target.error is None
    manifest = json.loads((home / io / "raspberry-pi-4" / "manifest.json").read_text())
    assert {spec["dtype"] for spec in manifest["artifact"]["inputs"]} == {io}


def test_the_lock_replays_the_choice_and_the_folder_comes_out_the_same(home):
    first = _build(home, "locked", ["intel-cpu"])
    manifest = (home / "locked" / "intel-cpu" / "manifest.json").read_bytes()
    lock = (home / "locked" / "edgekit.lock").read_text()
    again = _build(home, "locked", ["intel-cpu"])
    assert again.targets[0].precision == first.targets[0].precision
    assert (home / "locked" / "intel-cpu" / "manifest.json").read_bytes() == manifest
    assert (home / "locked" / "edgekit.lock").read_text() == lock


def test_a_target_that_can_not_take_the_model_does_not_stop_the_others(home, tmp_path):
    model = onnx.load(home / "model.onnx")
    relu = model.graph.node[1]
    relu.op_type = "LpPool"
    relu.attribute.append(onnx.helper.make_attribute("kernel_shape", [1, 1]))
    onnx.save(model, tmp_path / "pool.onnx")
    flags: dict[str, dict[str, Any]] = {
        "data": {"data": str(home / "data.npz"), "labels": False},
        "precision": {"precision": "fp32"},
    }
    report = build(str(tmp_path / "pool.onnx"), _BOTH, flags=flags, out=tmp_path / "out")
    by_name = {target.target: target for target in report.targets}
    assert by_name["raspberry-pi-4"].exit_code == UnsupportedOpError.exit_code
    error = by_name["raspberry-pi-4"].error
    assert error is not None
    assert "relu" in error["cause"]
    assert by_name["intel-cpu"].error is None
    assert report.exit_code == 3
    with pytest.raises(UnsupportedOpError, match="LpPool"):
        build(str(tmp_path / "pool.onnx"), ["raspberry-pi-4"], flags=flags, out=tmp_path / "alone")


def test_a_precision_that_the_back_end_lacks_is_a_usage_error(home, monkeypatch):
    from edgekit.backends.openvino import OpenVINOBackend
    from edgekit.core.types import Precision

    monkeypatch.setattr(OpenVINOBackend, "precisions", (Precision.FP32,))
    report = _build(home, "lacks", ["intel-cpu"], precision={"precision": "int8"})
    assert report.exit_code == UsageError.exit_code
    assert "fp32" in report.targets[0].error["remedy"]


def _text_model(path: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """Eight int64 tokens in, four classes out, by the mean of their embeddings; and the table times the weights."""
    random = np.random.default_rng(0)
    table, weight = random.normal(size=(50, 64)).astype(np.float32), random.normal(size=(64, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["embedded"], name="embedding"),
        helper.make_node("ReduceMean", ["embedded", "axes"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Gemm", ["mean", "w"], ["logits"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.array([1]), "axes"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path, table @ weight


def test_tokens_go_in_as_whole_numbers(tmp_path):
    model, scores = _text_model(tmp_path / "text.onnx")
    tokens = np.random.default_rng(1).integers(0, 50, (200, 8))
    np.savez(tmp_path / "data.npz", x=tokens, y=scores[tokens].mean(axis=1).argmax(axis=1))
    flags = {"data": {"data": str(tmp_path / "data.npz")}, "precision": {"precision": "fp16"}}
    report = build(str(model), _BOTH, flags=flags, out=tmp_path / "out")
    for target in report.targets:
        assert target.error is None
        assert (target.metrics[0].float, target.metrics[0].drop) == (100, 0)
        manifest = json.loads((tmp_path / "out" / target.target / "manifest.json").read_text())
        assert manifest["artifact"]["inputs"][0]["dtype"] == "int64"
        with np.load(tmp_path / "out" / target.target / "golden.npz") as golden:
            assert {str(golden[key].dtype) for key in golden.files} >= {"int64", "float32"}
