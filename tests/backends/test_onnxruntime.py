"""The ONNX Runtime back end on a small network: right answers, the planned precisions, the same bytes twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from edgekit.backends.base import CompileRequest, load_backend
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.backends.onnxruntime.realised import check_realised
from edgekit.core.errors import BrokenPromiseError, InvalidInputError, MissingToolError, UnsupportedOpError, UsageError
from edgekit.core.evidence import Account
from edgekit.core.types import Artifact, Precision, Preprocess, QuantPlan
from edgekit.devices.bench import measure
from edgekit.ir.model import BATCH, Model
from edgekit.ir.run import max_relative, run
from tests.backends.accounts import account
from tests.backends.networks import Array, answers, compile_in_child, samples, save, save_small, sqnr

Compile = Callable[..., Artifact]

FP32, INT8, DYNAMIC = QuantPlan(Precision.FP32), QuantPlan(Precision.INT8), QuantPlan(Precision.DYNAMIC)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "calibration.npz"
    np.savez(path, **samples(40))  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def compiled(source: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile the small network; without arguments of its own, once a plan."""
    made: dict[str, Artifact] = {}

    def compile_once(plan: QuantPlan, **changes: Any) -> Artifact:
        key = f"{plan}{changes}"
        if key not in made:
            request = CompileRequest(source, plan, None, calibration, tmp_path_factory.mktemp("out"))
            made[key] = OnnxRuntimeBackend().compile(replace(request, **changes))
        return made[key]

    return compile_once


def account_of(artifact: Artifact) -> Account:
    (measurement,), _ = measure(artifact.path, options=artifact.runtime_options, timing=False)
    return measurement.account


def test_the_entry_point_leads_to_the_back_end() -> None:
    assert isinstance(load_backend("onnxruntime"), OnnxRuntimeBackend)
    assert set(OnnxRuntimeBackend().tools()) == {"onnx", "onnx-ir", "onnxruntime"}


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("edgekit.backends.onnxruntime.backend.version", absent)
    with pytest.raises(MissingToolError) as caught:
        OnnxRuntimeBackend().tools()
    assert caught.value.remedy == "Run: pip install 'edgekit[onnxruntime]'"


def test_fp32_answers_as_the_model_does_under_its_names_and_in_its_order(
    compiled: Compile, source: Path, tmp_path: Path
) -> None:
    artifact, model, feeds = compiled(FP32), Model.load(source), samples(6, seed=2)
    given = answers(artifact, feeds, tmp_path)
    assert list(given) == [spec.name for spec in model.outputs] == [spec.name for spec in artifact.outputs]
    assert max_relative(given, run(model, feeds)) <= 1e-5
    assert [spec.shape for spec in artifact.inputs] == [(1, 3, 12, 12), (1, 16, 1, 1)]
    assert OnnxRuntimeBackend().prove(FP32, account_of(artifact)).violations == ()


def test_int8_stays_close_and_is_what_it_says(compiled: Compile, source: Path, tmp_path: Path) -> None:
    artifact, feeds = compiled(INT8), samples(40, seed=3)
    given, reference = answers(artifact, feeds, tmp_path), run(Model.load(source), feeds)
    assert min(sqnr(reference[name], given[name]) for name in reference) >= 25
    account = account_of(artifact)
    assert OnnxRuntimeBackend().prove(artifact.plan, account).violations == ()
    assert artifact.plan.precision is Precision.INT8
    assert [layer for layer, _ in artifact.plan.layers] == ["stem", "depth", "point", "head"]
    assert {entry.op for entry in account.compute if "int8" in entry.precision} >= {
        "QGemm", "QLinearAdd", "QLinearConv", "QLinearMul"
    }  # fmt: skip
    assert dict(account.weights) == {"int8": 16 * 27 + 16 * 9 + 32 * 16 + 32 * 36 * 5}


def test_dynamic_int8_takes_no_samples_and_leaves_convolutions_in_float(
    compiled: Compile, source: Path, tmp_path: Path
) -> None:
    artifact, feeds = compiled(DYNAMIC, calibration=None), samples(40, seed=3)
    given, reference = answers(artifact, feeds, tmp_path), run(Model.load(source), feeds)
    assert min(sqnr(reference[name], given[name]) for name in reference) >= 30
    account = account_of(artifact)
    assert OnnxRuntimeBackend().prove(artifact.plan, account).violations == ()
    assert dict(artifact.plan.layers) == {
        **dict.fromkeys(("stem", "depth", "point"), Precision.FP32), "head": Precision.DYNAMIC
    }  # fmt: skip
    assert [each.op for each in account.products if each.precision == "float32×int8"] == ["DynamicQuantizeMatMul"]
    assert dict(account.weights) == {"int8": 32 * 36 * 5, "float32": 4 * (16 * 27 + 16 * 9 + 32 * 16)}
    onnx.checker.check_model(onnx.load(artifact.path), full_check=True)


@pytest.mark.parametrize(("saturates", "greatest"), [(True, 63), (False, 127)])
def test_dynamic_products_that_share_what_they_read(saturates: bool, greatest: int, tmp_path: Path) -> None:
    """ONNX Runtime rounds it once, for kernels that read integers: these are dynamic, and no islands."""
    rng = np.random.default_rng(0)
    nodes = [
        make_node("MatMul", ["x", "q"], ["queries"], "query"),
        make_node("MatMul", ["x", "k"], ["keys"], "key"),
        make_node("Transpose", ["keys"], ["turned"], "turn", perm=[0, 2, 1]),
        make_node("MatMul", ["queries", "turned"], ["scores"], "attention"),
        make_node("Flatten", ["scores"], ["row"], "flatten"),
        make_node("Gemm", ["row", "h", "b"], ["y"], "head", transB=1),
    ]
    weights = {"q": rng.normal(size=(8, 6)), "k": rng.normal(size=(8, 6)), "h": rng.normal(size=(3, 16))}
    model = save(tmp_path / "source.onnx", nodes, {"x": [BATCH, 4, 8]}, {**weights, "b": rng.normal(size=3)})
    artifact = OnnxRuntimeBackend().compile(CompileRequest(model, DYNAMIC, None, None, tmp_path, saturates=saturates))
    account, feeds = account_of(artifact), {"x": rng.normal(size=(8, 4, 8)).astype(np.float32)}
    assert OnnxRuntimeBackend().prove(artifact.plan, account).violations == ()
    assert OnnxRuntimeBackend().prove(QuantPlan(Precision.INT8, artifact.plan.layers[:-1]), account).violations
    assert [layer for layer, precision in artifact.plan.layers if precision is Precision.FP32] == ["attention"]
    assert account.islands == 0
    assert sqnr(run(Model.load(model), feeds)["y"], answers(artifact, feeds, tmp_path)["y"]) >= 30
    stored = [tensor for tensor in onnx.load(artifact.path).graph.initializer if tensor.data_type == 3]
    assert max(np.abs(onnx.numpy_helper.to_array(each).astype(int)).max() for each in stored) == greatest


def test_dynamic_int8_is_refused_without_a_product_and_beside_int8(source: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    conv = make_node("Conv", ["x", "w"], ["y"], "conv")
    model = save(tmp_path / "source.onnx", [conv], {"x": [BATCH, 4, 6, 6]}, {"w": rng.normal(size=(4, 4, 3, 3))})
    with pytest.raises(UnsupportedOpError, match="no layer of this network can be made dynamic"):
        OnnxRuntimeBackend().compile(CompileRequest(model, DYNAMIC, None, None, tmp_path))
    both = QuantPlan(Precision.INT8, (("head", Precision.DYNAMIC),))
    with pytest.raises(UsageError, match="int8 or dynamic"):
        OnnxRuntimeBackend().compile(CompileRequest(source, both, None, None, tmp_path))


def test_a_batch_is_fixed_as_asked(compiled: Compile, source: Path, tmp_path: Path) -> None:
    artifact, feeds = compiled(FP32, batch=4), samples(6, seed=4)
    assert artifact.inputs[0].shape == (4, 3, 12, 12)
    given, reference = answers(artifact, feeds, tmp_path), run(Model.load(source), feeds)
    assert max_relative(given, reference) <= 1e-5


@pytest.mark.parametrize("plan", [FP32, INT8, DYNAMIC])
def test_two_processes_write_the_same_bytes(
    plan: QuantPlan, compiled: Compile, source: Path, calibration: Path, tmp_path: Path
) -> None:
    again = compile_in_child("onnxruntime", CompileRequest(source, plan, None, calibration, tmp_path))
    assert again.path.read_bytes() == compiled(plan).path.read_bytes()
    assert again.digest == compiled(plan).digest


def test_the_file_keeps_the_layers_names_and_no_more_than_a_runtime_needs(compiled: Compile) -> None:
    proto = onnx.load(compiled(INT8).path)
    assert {node.name for node in proto.graph.node} == {
        "", "stem", "stem/relu", "depth", "residual", "gain_layer", "point", "point/relu", "flatten", "head", "scores",
        "map",
    }  # fmt: skip
    assert not proto.graph.value_info
    onnx.checker.check_model(proto, full_check=True)


def test_labels_and_preprocessing_lie_inside_the_file(compiled: Compile) -> None:
    labels = ("cat", "dog & emu", "fox", "gnu", "hen")
    proto = onnx.load(compiled(FP32, labels=labels, preprocess=Preprocess(normalize="0..1")).path)
    notes = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert notes == {
        "edgekit.labels": list(labels),
        "edgekit.preprocess": {"color": "rgb", "normalize": "0..1", "resize": "stretch"},
    }


@pytest.mark.parametrize("layer", ["stem", "depth", "point", "head"])
def test_a_layer_that_the_plan_keeps_in_fp32_runs_in_fp32_between_int8_ones(
    layer: str, compiled: Compile, source: Path, tmp_path: Path
) -> None:
    plan = QuantPlan(Precision.INT8, ((layer, Precision.FP32),))
    artifact, feeds = compiled(plan), samples(40, seed=3)
    account = account_of(artifact)
    heavy = [entry for entry in account.compute if any(part in entry.op for part in ("Conv", "Gemm"))]
    assert sum(entry.count for entry in heavy if entry.precision == "float32") == 1
    assert sum(entry.count for entry in heavy if "int8" in entry.precision) == 3
    assert OnnxRuntimeBackend().prove(plan, account).violations == ()
    assert OnnxRuntimeBackend().prove(INT8, account).violations
    given, reference = answers(artifact, feeds, tmp_path), run(Model.load(source), feeds)
    assert min(sqnr(reference[name], given[name]) for name in reference) >= 25


def test_a_plan_may_quantize_nothing_but_the_layers_that_it_names(compiled: Compile) -> None:
    plan = QuantPlan(Precision.FP32, (("depth", Precision.INT8), ("head", Precision.INT8)))
    account = account_of(compiled(plan))
    ran = {entry.op: entry.count for entry in account.compute if "int8" in entry.precision}
    assert (ran["QLinearConv"], ran["QGemm"]) == (1, 1)
    assert "QLinearAdd" not in ran
    assert dict(account.weights) == {"int8": 16 * 9 + 32 * 36 * 5, "float32": 4 * (16 * 27 + 32 * 16)}
    assert OnnxRuntimeBackend().prove(plan, account).violations == ()
    assert OnnxRuntimeBackend().prove(FP32, account).violations


@pytest.mark.parametrize("rows", [(), (4,), (2, 4)])
def test_a_bias_that_is_added_to_a_product_goes_into_its_integer_kernel(rows: tuple[int, ...], tmp_path: Path) -> None:
    """Left as MatMul and Add, ONNX Runtime makes a Gemm of them, whose float bias then keeps it in float."""
    rng = np.random.default_rng(0)
    nodes = [
        make_node("MatMul", ["x", "w"], ["m"], "first"),
        make_node("Add", ["b", "m"], ["a"], "bias"),
        make_node("Relu", ["a"], ["r"], "relu"),
        make_node("MatMul", ["r", "v"], ["n"], "last"),
        make_node("Add", ["n", "c"], ["y"], "last_bias"),
    ]
    weights = {name: rng.normal(size=size) for name, size in (("w", (8, 16)), ("b", 16), ("v", (16, 4)), ("c", 4))}
    model = save(tmp_path / "model.onnx", nodes, {"x": [BATCH, *rows, 8]}, weights)
    feeds = {"x": rng.normal(size=(32, *rows, 8)).astype(np.float32)}
    np.savez(tmp_path / "calibration.npz", **feeds)  # type: ignore[arg-type]
    (tmp_path / "out").mkdir()
    request = CompileRequest(model, INT8, None, tmp_path / "calibration.npz", tmp_path / "out")
    artifact = OnnxRuntimeBackend().compile(request)
    products = {e.op: e.count for e in account_of(artifact).compute if any(part in e.op for part in ("Gemm", "MatMul"))}
    assert products == {"QGemm": 2}
    assert sqnr(run(Model.load(model), feeds)["y"], answers(artifact, feeds, tmp_path)["y"]) >= 25


def test_a_matrix_product_of_two_computed_values_stays_float_and_the_plan_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        make_node("MatMul", ["x", "w"], ["q"], "query"),
        make_node("Transpose", ["q"], ["t"], "turn", perm=[0, 2, 1]),
        make_node("MatMul", ["q", "t"], ["y"], "attention"),
    ]
    model = save(tmp_path / "model.onnx", nodes, {"x": [BATCH, 4, 8]}, {"w": rng.normal(size=(8, 8))})
    np.savez(tmp_path / "calibration.npz", x=rng.normal(size=(8, 4, 8)).astype(np.float32))
    request = CompileRequest(model, INT8, None, tmp_path / "calibration.npz", tmp_path)
    artifact = OnnxRuntimeBackend().compile(request)
    assert dict(artifact.plan.layers) == {"query": Precision.INT8, "attention": Precision.FP32}
    assert OnnxRuntimeBackend().prove(artifact.plan, account_of(artifact)).violations == ()


def test_what_onnx_runtime_does_not_fuse_is_found_layer_by_layer(compiled: Compile, tmp_path: Path) -> None:
    """With a bias in another scale than input × weights, a convolution silently computes in float."""
    proto = onnx.load(compiled(INT8).path)
    (stem,) = (node for node in proto.graph.node if node.name == "stem")
    (bias,) = (node for node in proto.graph.node if stem.input[2] in node.output)
    (scale,) = (tensor for tensor in proto.graph.initializer if tensor.name == bias.input[1])
    doubled = onnx.numpy_helper.to_array(scale) * 2
    scale.CopyFrom(onnx.numpy_helper.from_array(doubled, scale.name))
    onnx.save(proto, tmp_path / "planted.onnx")
    check_realised(compiled(INT8).path, {"stem", "depth", "point", "head"})
    with pytest.raises(BrokenPromiseError, match="computes stem in float"):
        check_realised(tmp_path / "planted.onnx", {"stem", "depth", "point", "head"})


def test_a_float_layer_that_onnx_runtime_quantizes_unasked_is_kept_from_it_and_found_without(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, Array] = {}
    for layer, (before, after) in enumerate(zip("xab", "aby", strict=True)):
        nodes.append(make_node("Conv", [before, f"w{layer}", f"b{layer}"], [after], f"conv{layer}"))
        weights |= {f"w{layer}": rng.normal(size=(4, 4, 1, 1)), f"b{layer}": rng.normal(size=4)}
    model = save(tmp_path / "model.onnx", nodes, {"x": [BATCH, 4, 6, 6]}, weights)
    np.savez(tmp_path / "calibration.npz", x=rng.normal(size=(8, 4, 6, 6)).astype(np.float32))
    plan = QuantPlan(Precision.INT8, (("conv1", Precision.FP32),))
    (tmp_path / "out").mkdir()
    request = CompileRequest(model, plan, None, tmp_path / "calibration.npz", tmp_path / "out")
    proto = onnx.load(OnnxRuntimeBackend().compile(request).path)
    (lifted,) = (node for node in proto.graph.node if node.name == "conv1")
    (shield,) = (node for node in proto.graph.node if lifted.input[0] in node.output)
    for tensor in proto.graph.initializer:
        if tensor.name in shield.input[1:]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)[0], tensor.name))
    onnx.save(proto, tmp_path / "planted.onnx")
    with pytest.raises(BrokenPromiseError, match="computes conv1 in int8"):
        check_realised(tmp_path / "planted.onnx", {"conv0", "conv2"})


HONEST_INT8 = account({"int8": 100}, ("QLinearConv", "uint8", 2), ("QGemm", "uint8", 1), ("Softmax", "float32", 1))
HONEST_DYNAMIC = account({"int8": 100}, ("DynamicQuantizeMatMul", "float32×int8", 2), ("Softmax", "float32", 1))
HONEST_FP32 = account({"float32": 400}, ("FusedConv", "float32", 2), ("ReorderInput", "float32", 2))


@pytest.mark.parametrize(("plan", "told"), [(INT8, HONEST_INT8), (DYNAMIC, HONEST_DYNAMIC), (FP32, HONEST_FP32)])
def test_what_is_as_promised_holds(plan: QuantPlan, told: Account) -> None:
    assert OnnxRuntimeBackend().prove(plan, told).violations == ()


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        pytest.param(INT8, HONEST_FP32, id="a float model called int8"),
        pytest.param(FP32, HONEST_INT8, id="an int8 model called float"),
        pytest.param(INT8, account({"int8": 100}, ("Conv", "float32", 2)), id="stored as int8, run in float"),
        pytest.param(INT8, account({"float32": 400}, ("QLinearConv", "uint8", 2)), id="run in int8, stored in float"),
        pytest.param(
            INT8, account({"int8": 100}, ("QLinearConv", "uint8", 2), ("Conv", "float32", 1)), id="one layer forgotten"
        ),
        pytest.param(INT8, HONEST_DYNAMIC, id="dynamic int8 called int8"),
        pytest.param(DYNAMIC, HONEST_INT8, id="int8 called dynamic int8"),
        pytest.param(DYNAMIC, account({"int8": 100}, ("MatMul", "float32", 2)), id="weights alone called dynamic"),
        pytest.param(INT8, account({}, ("Softmax", "float32", 1)), id="nothing to quantize"),
        pytest.param(FP32, account({"float16": 200}, ("Conv", "float32", 1)), id="fp16 weights called fp32"),
    ],
)
def test_a_lie_is_found(plan: QuantPlan, told: Account) -> None:
    assert OnnxRuntimeBackend().prove(plan, told).violations


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integer_inputs_are_refused(io: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"float32, not {io}"):
        OnnxRuntimeBackend().compile(CompileRequest(source, FP32, None, None, tmp_path, io=io))


def test_fp16_is_refused_for_a_layer_too(source: Path, tmp_path: Path) -> None:
    plan = QuantPlan(Precision.INT8, (("stem", Precision.FP16),))
    with pytest.raises(UsageError, match="no fp16"):
        OnnxRuntimeBackend().compile(CompileRequest(source, plan, None, None, tmp_path))


def test_int8_without_samples_a_layer_that_is_not_there_and_missing_inputs_are_the_callers_fault(
    source: Path, calibration: Path, tmp_path: Path
) -> None:
    request = CompileRequest(source, INT8, None, None, tmp_path)
    with pytest.raises(InvalidInputError, match="needs calibration samples"):
        OnnxRuntimeBackend().compile(request)
    absent = QuantPlan(Precision.INT8, (("nowhere", Precision.FP32),))
    with pytest.raises(InvalidInputError, match="hasn't got: nowhere"):
        OnnxRuntimeBackend().compile(replace(request, plan=absent, calibration=calibration))
    np.savez(tmp_path / "half.npz", image=samples(4)["image"])
    with pytest.raises(InvalidInputError, match="nothing for input 'gain'"):
        OnnxRuntimeBackend().compile(replace(request, calibration=tmp_path / "half.npz"))


@pytest.mark.parametrize(("saturates", "greatest"), [(True, 63), (False, 127)])
def test_weights_have_half_the_range_for_cpus_that_cut_off_sums_of_products(
    saturates: bool, greatest: int, compiled: Compile
) -> None:
    tensors = onnx.load(compiled(INT8, saturates=saturates).path).graph.initializer
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8]
    assert max(np.abs(weights.astype(int)).max() for weights in stored) == greatest


@pytest.mark.parametrize("plan", [FP32, INT8])
def test_the_example_runs(plan: QuantPlan, compiled: Compile, tmp_path: Path) -> None:
    artifact = compiled(plan)
    (tmp_path / artifact.path.name).write_bytes(artifact.path.read_bytes())
    (tmp_path / "example.py").write_text(OnnxRuntimeBackend().example(artifact))
    told = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert told.stdout.splitlines()[0].startswith("z_scores (1, 5)")
