"""The whole family, on random graphs, on a network of the field, and on real models."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.types import Layout
from edgekit.ir.cost import model_cost
from edgekit.ir.model import IR_VERSION, OPSET, Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.fuse.stage import fuse_model
from edgekit.passes.normalise import normalise
from edgekit.pipeline.child import call

_CHANNELS = 4


def _layer(b, data, values):
    """A random layer that keeps the shape (batch, 4, 6, 6), reading any earlier value."""
    x = data.draw(st.sampled_from(values))
    c, group = _CHANNELS, data.draw(st.sampled_from([1, 2, 4]))
    kind = data.draw(
        st.sampled_from(
            [
                "conv",
                "conv",
                "pad",
                "transposed",
                "bn",
                "bn",
                "mul",
                "add",
                "relu",
                "twice",
                "there and back",
                "residual",
            ]
        )
    )
    match kind:
        case "conv":
            return b.op("Conv", x, b.normal(c, c // group, 3, 3), group=group, pads=[1, 1, 1, 1])
        case "pad":
            padded = b.op(
                "Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(data.draw(st.sampled_from([0, 0, 1])))
            )
            return b.op("Conv", padded, b.normal(c, c // group, 3, 3), b.normal(c), group=group)
        case "transposed":
            return b.op("ConvTranspose", x, b.normal(c, c // group, 3, 3), group=group, pads=[1, 1, 1, 1])
        case "bn":
            return b.batch_norm(x, c)
        case "mul":
            return b.op("Mul", x, b.positive(c, 1, 1))
        case "add":
            return b.op("Add", b.normal(1, c, 1, 1), x)
        case "relu":
            return b.op("Relu", x)
        case "twice":
            return b.op("Add", b.op("Tanh", x), b.op("Tanh", x))
        case "there and back":
            there = b.op("Relu", b.op("Transpose", x, perm=[0, 2, 3, 1]))
            return b.op("Transpose", b.op("Mul", there, b.positive(c)), perm=[0, 3, 1, 2])
    return b.op("Add", x, data.draw(st.sampled_from(values)))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_network_keeps_its_function_names_and_outputs(build, names, ops, data) -> None:
    b = build((_CHANNELS, 6, 6), seed=data.draw(st.integers(0, 999)))
    values = ["x"]
    for _ in range(data.draw(st.integers(1, 10))):
        values.append(_layer(b, data, values))
    model = b.model(*dict.fromkeys([values[-1], data.draw(st.sampled_from(values[1:]))]), layout=Layout.NCHW)
    fused, _ = apply(model, FUSION, seed=0, until_stable=True)
    feeds = probe(model, seed=1, samples=2)
    assert max_relative(run(fused, feeds), run(model, feeds)) <= 1e-5
    assert (fused.inputs, fused.outputs) == (model.inputs, model.outputs)
    assert len(fused.graph) <= len(model.graph)
    convolutions = {node.name for node in fused.graph if node.op_type.startswith("Conv")}
    assert convolutions <= set(names(model))
    for node in fused.graph:
        assert node.outputs[0].shape is not None, node.name


def _mobilenet(b, blocks=4):
    """MobileNetV2 before fusion: a BatchNorm behind each convolution, a Pad before each stride of 2."""
    relu6 = lambda x: b.op("Clip", x, np.float32(0), np.float32(6))  # noqa: E731
    pad = lambda x: b.op("Pad", x, np.array([0, 0, 0, 0, 0, 0, 1, 1]))  # noqa: E731
    y = relu6(b.batch_norm(b.op("Conv", pad("x"), b.normal(8, 3, 3, 3), strides=[2, 2], name="stem"), 8))
    for i in range(blocks):
        skip, stride = y, 1 + i % 2
        y = relu6(b.batch_norm(b.op("Conv", y, b.normal(24, 8, 1, 1), name=f"expand{i}"), 24))
        pads = {"strides": [2, 2]} if stride == 2 else {"pads": [1, 1, 1, 1]}
        y = b.op("Conv", pad(y) if stride == 2 else y, b.normal(24, 1, 3, 3), group=24, name=f"depthwise{i}", **pads)
        y = b.op("Conv", relu6(b.batch_norm(y, 24)), b.normal(8, 24, 1, 1), name=f"project{i}")
        y = b.batch_norm(y, 8)
        y = b.op("Add", y, skip, name=f"add{i}") if stride == 1 else y
    y = b.op("Flatten", b.op("GlobalAveragePool", y))
    y = b.op("Add", b.op("MatMul", b.op("Dropout", y), b.normal(8, 10), name="logits"), b.normal(10))
    return b.op("Softmax", y, name="probabilities")


def test_mobilenet_loses_every_batch_norm_pad_and_dropout(build, ops, names) -> None:
    b = build((3, 32, 32))
    model = b.model(_mobilenet(b))
    fused, records = apply(model, FUSION, seed=0, until_stable=True)
    kept = ops(fused)
    assert not {"BatchNormalization", "Pad", "Dropout", "MatMul"} & set(kept)
    assert kept.count("Conv") == 13
    assert len(kept) == 13 + 9 + 2 + 4
    assert {"stem", "expand0", "depthwise3", "project2", "logits", "add0", "probabilities"} <= set(names(fused))
    assert {r.name: r.fired for r in records}["fold-affine"] == 14
    assert max(r.max_relative or 0 for r in records) <= 1e-5


def test_the_hard_swish_network_of_the_benchmark_loses_half_of_its_nodes(ops) -> None:
    """`benchmarks/fusion.py` times it; 96 pixels a side are enough to count."""
    benchmark = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "fusion.py"))
    model = normalise(benchmark["hard_swish_network"](96))
    fused, records = apply(model, FUSION, seed=0, until_stable=True)
    fired = {record.name: record.fired for record in records}
    assert (fired["fuse-hard-swish"], fired["fold-affine"]) == (35, 52)
    assert len(fused.graph) <= benchmark["NODES_LIMIT"] * len(model.graph)
    assert set(ops(fused)) == {"Conv", "HardSwish", "Add", "GlobalAveragePool", "Flatten", "Gemm"}


@pytest.fixture
def stored(build, tmp_path: Path) -> Path:
    b = build((3, 32, 32))
    path = tmp_path / "model.onnx"
    b.model(_mobilenet(b), layout=Layout.NC).save(path)
    return path


def test_the_stage_writes_the_same_bytes_each_time_and_tells_what_it_did(stored: Path, tmp_path: Path) -> None:
    written = []
    for run_name in ("first", "second"):
        (tmp_path / run_name).mkdir()
        answer = fuse_model(str(stored), str(tmp_path / run_name), seed=5)
        written.append((tmp_path / run_name / "model.onnx").read_bytes())
    assert written[0] == written[1]
    assert answer["nodes_after"] < answer["nodes_before"]
    assert {each["name"]: each["modified"] for each in answer["passes"]}["fold-affine"]
    assert set(answer["passes"][0]) == {"name", "modified", "fired", "max_relative"}
    model = Model.load(tmp_path / "first" / "model.onnx")
    assert (model.graph.opset_imports[""], model.proto.ir_version) == (OPSET, IR_VERSION)
    assert (model.outputs[0].layout, model.outputs[0].shape) == (Layout.NC, (None, 10))


def test_fusing_again_finds_nothing(stored: Path) -> None:
    once, _ = apply(Model.load(stored), FUSION, seed=0, until_stable=True)
    twice, records = apply(once, FUSION, seed=0, until_stable=True)
    assert twice is once
    assert not any(record.modified for record in records)


def test_graphs_stay_as_the_caller_gave_them(stored: Path) -> None:
    model = Model.load(stored)
    before = ir.to_proto(model.proto).SerializeToString(deterministic=True)
    apply(model, FUSION, seed=0, until_stable=True)
    assert ir.to_proto(model.proto).SerializeToString(deterministic=True) == before


def _import(source: Path, out: Path) -> Model:
    call("edgekit.formats.importer:import_model", {"source": source, "out": out}, what="importing", blame="the test")
    return Model.load(out / "model.onnx")


@pytest.mark.acceptance
def test_ultraface_keeps_its_function(acceptance_data: Path, tmp_path: Path, ops) -> None:
    model = _import(acceptance_data / "ultraface/version-slim-320_simplified.onnx", tmp_path)
    fused, records = apply(model, FUSION, seed=0, until_stable=True)
    assert len(fused.graph) <= len(model.graph)
    assert max(r.max_relative or 0 for r in records) <= 1e-5
    assert ops(fused).count("Conv") == 42


# MACs and parameters by the benchmark's own documents; what fusion leaves: the network itself.
_RESNET8 = (12.5e6, 79e3, {"Conv": 9, "Add": 3, "Relu": 7, "Gemm": 1, "Transpose": 1})
_MOBILENET = (7.49e6, 222e3, {"Conv": 27, "Relu": 27, "Gemm": 1, "Transpose": 1})


@pytest.mark.acceptance
@pytest.mark.parametrize(("file", "expected"), [("pretrainedResnet.h5", _RESNET8), ("vww_96.h5", _MOBILENET)])
def test_mlperf_tiny_is_costed_and_fused(acceptance_data: Path, tmp_path: Path, ops, file: str, expected) -> None:
    macs, params, left = expected
    model = _import(acceptance_data / "mlperf_tiny_models" / file, tmp_path)
    cost = model_cost(model)
    assert cost.macs == pytest.approx(macs, rel=0.01)
    assert cost.params == pytest.approx(params, rel=0.01)
    fused, records = apply(model, FUSION, seed=0, until_stable=True)
    assert not {"BatchNormalization", "MatMul"} & set(ops(fused))
    assert {op: ops(fused).count(op) for op in left} == left
    assert max(r.max_relative or 0 for r in records) <= 1e-5
