"""Networks that TFLite takes with care in int8, dynamic and fp16: state, recurrent layers, products of any kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.errors import UnsupportedOpError
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.formats.tflite import flatbuffer
from edgekit.ir.model import BATCH, Model
from edgekit.ir.run import run
from tests.backends.networks import save, sqnr

Array = np.ndarray[Any, Any]

FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)
DYNAMIC = QuantPlan(Precision.DYNAMIC)


def compile_both(model: Path, plan: QuantPlan, x: Array | None = None) -> tuple[Artifact, Artifact]:
    """The float artifact, and that of `plan`, in folders beside the model. `x` are samples to calibrate with."""
    float_folder, folder, samples = (model.with_name(name) for name in ("float", "narrow", "x.npz"))
    for each in (float_folder, folder):
        each.mkdir(exist_ok=True)
    if x is not None:
        np.savez(samples, x=x)
    request = CompileRequest(model, FP32, None, None if x is None else samples, float_folder)
    float_file = TFLiteBackend().compile(request)
    return float_file, TFLiteBackend().compile(replace(request, plan=plan, baseline=float_file, workdir=folder))


def answer(artifact: Artifact, sample: Array) -> dict[str, Array]:
    """What it answers to a batch of one."""
    from ai_edge_litert.interpreter import Interpreter

    answers: dict[str, Array] = Interpreter(str(artifact.path), num_threads=1).get_signature_runner()(x=sample)
    return answers


def proved(artifact: Artifact) -> Any:
    """The runtime's account, which proves the artifact's plan."""
    (measurement,), _ = measure(artifact.path, timing=False)
    assert TFLiteBackend().prove(artifact.plan, measurement.account).violations == ()
    return measurement.account


def test_outputs_that_are_read_further_or_given_twice_stay_whole_in_int8(tmp_path: Path) -> None:
    """What a recurrent step gives out: its state, which the last layer reads, and again as an answer."""
    rng = np.random.default_rng(0)
    nodes = [
        make_node("MatMul", ["x", "w"], ["m"], "dense"),
        make_node("Tanh", ["m"], ["state"], "tanh"),
        make_node("Identity", ["state"], ["again"], "identity"),
        make_node("MatMul", ["state", "v"], ["y"], "head"),
    ]
    weights = {"w": rng.normal(size=(6, 16)), "v": rng.normal(size=(16, 3))}
    model = save(tmp_path / "step.onnx", nodes, {"x": [BATCH, 6]}, weights, ("y", "state", "again"))
    x = rng.normal(size=(64, 6)).astype(np.float32)
    _, artifact = compile_both(model, INT8, x)
    found = [answer(artifact, sample[None]) for sample in x]
    for name, wanted in run(Model.load(model), {"x": x}).items():
        values = np.concatenate([each[name] for each in found])
        assert values.dtype == np.float32
        assert sqnr(wanted, values) > 25, name
    assert _integer_ops(artifact) == {"FULLY_CONNECTED", "TANH"}


def _integer_ops(artifact: Artifact) -> set[str]:
    """The ops whose every operand and result is an integer."""
    from ai_edge_litert.schema_py_generated import TensorType

    file = flatbuffer.read(artifact.path.read_bytes())
    subgraph = file.subgraphs[0]
    return {
        name
        for name, op in zip(flatbuffer.op_names(file), subgraph.operators, strict=True)
        if all(subgraph.tensors[i].type != TensorType.FLOAT32 for i in (*op.inputs, *op.outputs) if i >= 0)
    }


def test_an_lstm_over_frames_runs_in_int8(tmp_path: Path) -> None:
    """Its first step starts from zeros, which makes a gate superfluous: nothing may be left of that."""
    rng = np.random.default_rng(0)
    nodes = [
        make_node("Transpose", ["x"], ["steps"], "transpose", perm=[1, 0, 2]),
        make_node("LSTM", ["steps", "w", "r"], ["", "last"], "lstm", hidden_size=8),
        make_node("Squeeze", ["last", "front"], ["y"], "squeeze"),
    ]
    weights = {name: rng.normal(0, 0.3, shape) for name, shape in (("w", (1, 32, 6)), ("r", (1, 32, 8)))}
    model = save(tmp_path / "lstm.onnx", nodes, {"x": [1, 5, 6]}, {**weights, "front": np.array([0])})
    x = rng.normal(size=(32, 5, 6)).astype(np.float32)
    wanted, given = (answer(each, x[:1])["y"] for each in compile_both(model, INT8, x))
    np.testing.assert_allclose(given, wanted, atol=0.1 * np.abs(wanted).max())


def test_recurrent_layers_are_dynamic(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes, weights = [], {"d": rng.normal(size=(16, 4))}
    for kind, gates, read, given in (("LSTM", 4, "x", "a"), ("GRU", 3, "a", "b"), ("RNN", 1, "b", "c")):
        names = [f"{kind}.{part}" for part in "wrb"]
        sizes = (8 if read == "x" else 16, 16, 2)
        weights |= {name: rng.normal(size=(1, gates * 16, size)) / 4 for name, size in zip(names, sizes, strict=True)}
        weights[names[2]] = weights[names[2]].reshape(1, -1)
        nodes.append(make_node(kind, [read, *names, ""], ["", given], kind, hidden_size=16))
    nodes.append(make_node("MatMul", ["c", "d"], ["y"], "dense"))
    _, artifact = compile_both(save(tmp_path / "model.onnx", nodes, {"x": [5, 1, 8]}, weights), DYNAMIC)
    assert dict(artifact.plan.layers) == dict.fromkeys(("LSTM", "GRU", "RNN", "dense"), Precision.DYNAMIC)
    account = proved(artifact)
    assert {each.precision for each in account.products} == {"float32×int8"}
    assert len(account.products) > 4


def test_what_has_no_dynamic_kernel_is_named_as_float_and_nothing_but_that_is_refused(tmp_path: Path) -> None:
    """A product with its constant in front, which ai-edge-quantizer would round and no kernel take."""
    left = make_node("MatMul", ["w", "x"], ["l"], "left")
    nodes = [left, make_node("MatMul", ["l", "x"], ["b"], "both"), make_node("MatMul", ["b", "v"], ["y"], "dense")]
    weights = {name: np.ones((8, 8), np.float32) for name in "wv"}

    def built(nodes: list[onnx.NodeProto]) -> Artifact:
        return compile_both(save(tmp_path / "model.onnx", nodes, {"x": [BATCH, 8, 8]}, weights), DYNAMIC)[1]

    artifact = built(nodes)
    assert {layer for layer, precision in artifact.plan.layers if precision is Precision.FP32} == {"left", "both"}
    proved(artifact)
    with pytest.raises(UnsupportedOpError, match="no layer of this network can be made dynamic"):
        built([left])


@pytest.mark.parametrize(
    "plan",
    [FP16, QuantPlan(Precision.INT8, (("left", Precision.FP16), ("many", Precision.FP16)))],
    ids=["fp16", "int8"],
)
def test_products_of_batches_have_no_halves_and_are_named_as_float(plan: QuantPlan, tmp_path: Path) -> None:
    nodes = [
        make_node("MatMul", [*pair], [result], name)
        for pair, result, name in ((("w", "x"), "l", "left"), (("l", "m"), "p", "many"), (("p", "v"), "y", "dense"))
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(8, 8)), "m": rng.normal(size=(2, 8, 8)), "v": rng.normal(size=(8, 8))}
    model = save(tmp_path / "model.onnx", nodes, {"x": [BATCH, 2, 8, 8]}, weights)
    _, artifact = compile_both(model, plan, rng.normal(size=(8, 2, 8, 8)).astype(np.float32))
    named = dict(artifact.plan.layers)
    assert named["left"] == named["many"] == Precision.FP32
    assert named.get("dense", plan.default) == plan.default
    proved(artifact)
