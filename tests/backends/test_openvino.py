"""The OpenVINO back end on a small network: right answers, the same bytes twice, and nothing that reports home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from edgekit.backends.base import CompileRequest, load_backend
from edgekit.backends.openvino import OpenVINOBackend
from edgekit.core.errors import InvalidInputError, MissingToolError, UnsupportedOpError, UsageError
from edgekit.core.types import Artifact, Precision, Preprocess, QuantPlan
from edgekit.devices.bench import measure
from edgekit.ir.model import BATCH, Model
from edgekit.ir.run import max_relative, run
from tests.backends.networks import answers, compile_in_child, samples, save, save_small, sqnr

Compile = Callable[..., Artifact]

FP32, FP16, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.FP16), QuantPlan(Precision.INT8)


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
    """Compile in a fresh child process, as the pipeline does; without arguments of its own, once a plan."""
    made: dict[str, Artifact] = {}

    def compile_once(plan: QuantPlan, **changes: Any) -> Artifact:
        key = f"{plan}{changes}"
        if key not in made:
            baseline = None if plan.default is Precision.FP32 else compile_once(FP32)
            request = replace(
                CompileRequest(source, plan, baseline, calibration, tmp_path_factory.mktemp("out")), **changes
            )
            made[key] = compile_in_child("openvino", request)
        return made[key]

    return compile_once


def test_the_entry_point_leads_to_the_back_end() -> None:
    assert isinstance(load_backend("openvino"), OpenVINOBackend)
    assert set(OpenVINOBackend().tools()) == {"openvino", "nncf"}


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("edgekit.backends.openvino.backend.version", absent)
    with pytest.raises(MissingToolError) as caught:
        OpenVINOBackend().tools()
    assert caught.value.remedy == "Run: pip install 'edgekit[openvino]'"


def test_fp32_answers_as_the_model_does_under_its_names_and_in_its_order(
    compiled: Compile, source: Path, tmp_path: Path
) -> None:
    artifact, model, feeds = compiled(FP32), Model.load(source), samples(6, seed=2)
    given = answers(artifact, feeds, tmp_path)
    assert list(given) == [spec.name for spec in model.outputs] == [spec.name for spec in artifact.outputs]
    reference = run(model, feeds)
    assert max_relative(given, reference) <= 1e-5
    assert [spec.shape for spec in artifact.inputs] == [(1, 3, 12, 12), (1, 16, 1, 1)]


@pytest.mark.parametrize(("plan", "decibels"), [(FP16, 55), (INT8, 25)])
def test_the_smaller_precisions_stay_close_and_are_what_they_say(
    plan: QuantPlan, decibels: float, compiled: Compile, source: Path, tmp_path: Path
) -> None:
    artifact, feeds = compiled(plan), samples(40, seed=3)
    given, reference = answers(artifact, feeds, tmp_path), run(Model.load(source), feeds)
    assert min(sqnr(reference[name], given[name]) for name in reference) >= decibels
    (measurement,), _ = measure(artifact.path, options=artifact.runtime_options, timing=False)
    assert OpenVINOBackend().prove(plan, measurement.account).violations == ()


def test_a_depthwise_layer_in_front_is_int8_though_channels_come_last(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        make_node("Transpose", ["x"], ["t"], "layout", perm=[0, 3, 1, 2]),
        make_node("Conv", ["t", "depth.weight"], ["d"], "depth", group=8),
        make_node("Conv", ["d", "point.weight"], ["p"], "point"),
    ]
    weights = {"depth.weight": rng.normal(size=(8, 1, 3, 1)), "point.weight": rng.normal(size=(16, 8, 1, 1))}
    source = save(tmp_path / "m.onnx", nodes, {"x": [BATCH, 12, 1, 8]}, weights)
    np.savez(tmp_path / "calibration.npz", x=rng.normal(size=(20, 12, 1, 8)).astype(np.float32))
    baseline = None
    for plan in (FP32, INT8):
        folder = tmp_path / plan.default
        folder.mkdir()
        request = CompileRequest(source, plan, baseline, tmp_path / "calibration.npz", folder)
        baseline = compile_in_child("openvino", request)
    assert baseline is not None
    (measurement,), _ = measure(baseline.path, options=baseline.runtime_options, timing=False)
    assert OpenVINOBackend().prove(INT8, measurement.account).violations == ()


def test_a_batch_is_fixed_as_asked(compiled: Compile, source: Path, tmp_path: Path) -> None:
    artifact, feeds = compiled(FP32, batch=4), samples(6, seed=4)
    assert artifact.inputs[0].shape == (4, 3, 12, 12)
    given, reference = answers(artifact, feeds, tmp_path), run(Model.load(source), feeds)
    assert max_relative(given, reference) <= 1e-5


@pytest.mark.parametrize("plan", [FP32, INT8])
def test_two_processes_write_the_same_bytes(
    plan: QuantPlan, compiled: Compile, source: Path, calibration: Path, tmp_path: Path
) -> None:
    first = compiled(plan)
    baseline = None if plan == FP32 else compiled(FP32)
    again = compile_in_child("openvino", CompileRequest(source, plan, baseline, calibration, tmp_path))
    assert [file.read_bytes() for file in again.files] == [file.read_bytes() for file in first.files]
    assert again.digest == first.digest


def test_the_file_holds_no_path_no_blanks_and_the_layers_names(compiled: Compile) -> None:
    text = compiled(INT8).path.read_text()
    assert "model.onnx" not in text
    assert "\n" not in text.strip().partition("\n")[2]
    assert all(f'name="{layer}"' in text for layer in ("stem", "residual", "head", "scores", "map"))


def test_labels_and_preprocessing_lie_inside_the_file(compiled: Compile) -> None:
    labels = ("cat", "dog & emu", "fox", "gnu", "hen")
    artifact = compiled(FP32, labels=labels, preprocess=Preprocess(normalize="0..1"))
    code = (
        "import sys; sys.modules['openvino_telemetry'] = None; import openvino as ov, json;"
        "note = lambda key: json.loads(ov.Core().read_model(sys.argv[1]).get_rt_info(['edgekit', key]).astype(str));"
        "print(json.dumps([note('labels'), note('preprocess')]))"
    )
    told = subprocess.run([sys.executable, "-c", code, str(artifact.path)], check=True, capture_output=True, text=True)
    assert json.loads(told.stdout) == [
        list(labels),
        {"color": "rgb", "normalize": "0..1", "resize": "stretch"},
    ]


@pytest.mark.parametrize("layer", ["stem", "depth", "head"])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_a_layer_that_the_plan_keeps_in_float_is_what_the_plan_says(
    layer: str, precision: Precision, compiled: Compile
) -> None:
    artifact = compiled(QuantPlan(Precision.INT8, ((layer, precision),)))
    (measurement,), _ = measure(artifact.path, options=artifact.runtime_options, timing=False)
    (floating,) = (product for product in measurement.account.products if product.precision == "float32")
    assert layer in {name.partition("/")[0] for name in floating.layers}
    for other in (Precision.FP32, Precision.FP16, Precision.INT8):
        layers = tuple((name, other if name == layer else given) for name, given in artifact.plan.layers)
        plan = replace(artifact.plan, layers=layers)
        assert (OpenVINOBackend().prove(plan, measurement.account).violations == ()) == (other is precision)


@pytest.mark.parametrize("shared", [True, False])
def test_a_product_of_two_computed_values_is_what_the_plan_says_of_it(shared: bool, tmp_path: Path) -> None:
    """NNCF rounds both of its factors, or not: as for a Model's own layers, what it does is what is promised."""
    rng = np.random.default_rng(0)
    nodes = [
        make_node("MatMul", ["x", "w"], ["q"], "query"),
        make_node("MatMul", ["x", "w" if shared else "v"], ["k"], "key"),
        make_node("Transpose", ["k"], ["t"], "turn", perm=[0, 2, 1]),
        make_node("MatMul", ["q", "t"], ["s"], "scores"),
        make_node("Softmax", ["s"], ["a"], "attention", axis=-1),
        make_node("MatMul", ["a", "q"], ["y"], "mixed"),
    ]
    weights = {"w": rng.normal(size=(16, 16)), **({} if shared else {"v": rng.normal(size=(16, 16))})}
    model = save(tmp_path / "model.onnx", nodes, {"x": [BATCH, 8, 16]}, weights)
    np.savez(tmp_path / "calibration.npz", x=rng.normal(size=(8, 8, 16)).astype(np.float32))
    (tmp_path / "out").mkdir()
    request = CompileRequest(model, INT8, None, tmp_path / "calibration.npz", tmp_path / "out")
    artifact = OpenVINOBackend().compile(request)
    assert {layer for layer, _ in artifact.plan.layers} == {"query", "key", "scores", "mixed"}
    assert dict(artifact.plan.layers)["query"] is Precision.INT8
    (measurement,), _ = measure(artifact.path, options=artifact.runtime_options, timing=False)
    assert OpenVINOBackend().prove(artifact.plan, measurement.account).violations == ()


def test_int8_products_that_are_scaled_by_channel_keep_away_from_the_kernel_that_gets_them_wrong(
    tmp_path: Path,
) -> None:
    """On one thread, OpenVINO 2026.4 answers such a chain with garbage unless it is told to use plain kernels."""
    rng = np.random.default_rng(0)
    nodes, weights, value = [], {}, "x"
    for layer in range(4):
        weights[f"w{layer}"] = rng.normal(size=(64, 64), scale=0.125)
        weights[f"s{layer}"] = rng.uniform(0.5, 2, size=64)
        weights[f"b{layer}"] = rng.normal(size=64)
        nodes += [
            make_node("MatMul", [value, f"w{layer}"], [f"m{layer}"], f"product{layer}"),
            make_node("Mul", [f"m{layer}", f"s{layer}"], [f"t{layer}"], f"scale{layer}"),
            make_node("Add", [f"t{layer}", f"b{layer}"], [f"a{layer}"], f"shift{layer}"),
            make_node("Relu", [f"a{layer}"], [f"r{layer}"], f"relu{layer}"),
        ]
        value = f"r{layer}"
    source = save(tmp_path / "chain.onnx", nodes, {"x": [BATCH, 64]}, weights)
    feeds = {"x": rng.normal(size=(50, 64)).astype(np.float32)}
    np.savez(tmp_path / "calibration.npz", **feeds)  # type: ignore[arg-type]
    folders = [tmp_path / "fp32", tmp_path / "int8"]
    for folder in folders:
        folder.mkdir()
    float32 = compile_in_child("openvino", CompileRequest(source, FP32, None, None, folders[0]))
    int8 = compile_in_child("openvino", CompileRequest(source, INT8, float32, tmp_path / "calibration.npz", folders[1]))
    given = answers(int8, feeds, tmp_path)
    assert sqnr(run(Model.load(source), feeds)[value], given[value]) >= 15


def test_nothing_reports_home(source: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO and NNCF import a telemetry package by themselves; ours must run without touching it."""
    package = tmp_path / "openvino_telemetry"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"open({str(tmp_path / 'touched')!r}, 'w')\nraise SystemExit('reported home')\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    folders = [tmp_path / "fp32", tmp_path / "int8"]
    for folder in folders:
        folder.mkdir()
    float32 = compile_in_child("openvino", CompileRequest(source, FP32, None, None, folders[0]))
    compile_in_child("openvino", CompileRequest(source, INT8, float32, calibration, folders[1]))
    measure(float32.path, timing=False)
    assert not (tmp_path / "touched").exists()


def test_integer_inputs_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="float32, not int8"):
        OpenVINOBackend().compile(CompileRequest(source, FP32, None, None, tmp_path, io="int8"))


@pytest.mark.parametrize(
    "plan",
    [
        QuantPlan(Precision.FP16, (("stem", Precision.FP32),)),
        QuantPlan(Precision.FP32, (("stem", Precision.INT8),)),
    ],
)
def test_a_mix_that_openvino_cannot_store_is_refused(plan: QuantPlan, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can keep single layers of an int8 model in fp16 or fp32"):
        OpenVINOBackend().compile(CompileRequest(source, plan, None, None, tmp_path))


def test_int8_without_samples_a_layer_that_is_not_there_and_missing_inputs_are_the_callers_fault(
    compiled: Compile, source: Path, calibration: Path, tmp_path: Path
) -> None:
    request = CompileRequest(source, INT8, compiled(FP32), None, tmp_path)
    with pytest.raises(InvalidInputError, match="needs calibration samples"):
        compile_in_child("openvino", request)
    absent = QuantPlan(Precision.INT8, (("nowhere", Precision.FP32),))
    with pytest.raises(InvalidInputError, match="hasn't got: nowhere"):
        compile_in_child("openvino", replace(request, plan=absent, calibration=calibration))
    np.savez(tmp_path / "half.npz", image=samples(4)["image"])
    with pytest.raises(InvalidInputError, match="lack the input gain"):
        compile_in_child("openvino", replace(request, calibration=tmp_path / "half.npz"))


def test_an_op_that_openvino_has_not_is_named_before_anything_is_converted(tmp_path: Path) -> None:
    source = save(tmp_path / "det.onnx", [make_node("Det", ["x"], ["y"], "volume")], {"x": [BATCH, 3, 3]}, {})
    ((layer, op, remedy),) = OpenVINOBackend().unsupported(source)
    assert (layer, op) == ("volume", "Det")
    assert remedy
    with pytest.raises(UnsupportedOpError, match=r"OpenVINO has no Det \(layer volume\)"):
        OpenVINOBackend().compile(CompileRequest(source, FP32, None, None, tmp_path))


def test_the_example_runs(compiled: Compile, tmp_path: Path) -> None:
    artifact = compiled(INT8)
    for file in artifact.files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "example.py").write_text(OpenVINOBackend().example(artifact))
    environment = {**os.environ, "CI": "true"}  # a user's own OpenVINO must not report home from a test
    told = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, check=True, capture_output=True, text=True, env=environment
    )
    assert told.stdout.splitlines()[0].startswith("a_map (1, 16, 6, 6)") or "z_scores (1, 5)" in told.stdout
