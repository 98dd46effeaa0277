"""What was int8 is int8 again: for LiteRT and ONNX Runtime with the very same numbers, for OpenVINO in effect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.backends.openvino import OpenVINOBackend
from edgekit.backends.tflite import TFLiteBackend
from edgekit.backends.tflite.calibrate import Ranges
from edgekit.backends.tflite.recorded import recorded_ranges
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.formats.importer import import_model
from edgekit.formats.tflite import flatbuffer
from edgekit.ir.model import Model
from edgekit.ir.quantization import recorded_params
from edgekit.ir.run import run
from edgekit.lowering import scope_names
from edgekit.passes.fuse.stage import fuse_model
from tests.formats.quantized_files import write_tflite

Array = np.ndarray[Any, Any]
Backend = TFLiteBackend | OpenVINOBackend | OnnxRuntimeBackend
FP32, INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.INT8)
_TYPES = {0: np.float32, 2: np.int32, 9: np.int8}


@dataclass(frozen=True)
class Source:
    """A quantized file, its float Model after fusion, and the network that rounds as it does."""

    path: Path
    model: Path
    reference: Path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("source")
    path = write_tflite(folder, "int8")
    import_model(str(path), str(folder))
    fused = tmp_path_factory.mktemp("fused")
    fuse_model(str(folder / "model.onnx"), str(fused), seed=0)
    return Source(path, fused / "model.onnx", folder / "reference.onnx")


def compiled(
    backend: Backend, source: Source, folder: Path, io: str = "float32", *, saturates: bool = True
) -> Artifact:
    """The int8 artifact; no calibration data is at hand."""
    homes = [folder / name for name in ("float", "int8")]
    for home in homes:
        home.mkdir()
    request = CompileRequest(source.model, FP32, None, None, homes[0])
    baseline = backend.compile(request)
    return backend.compile(CompileRequest(source.model, INT8, baseline, None, homes[1], io=io, saturates=saturates))


def layers(path: Path) -> list[tuple[str, list[tuple[float, int]], list[Array]]]:
    """Of each operator that computes: its op, the scales of its outputs, and its constants."""
    file = flatbuffer.read(path.read_bytes())
    graph = file.subgraphs[0]
    found = []
    for kind, operator in zip(flatbuffer.op_names(file), graph.operators, strict=True):
        if kind in {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}:
            continue
        stored = [graph.tensors[index].quantization for index in operator.outputs]
        tensors = [graph.tensors[index] for index in operator.inputs]
        constants = [(tensor, file.buffers[tensor.buffer].data) for tensor in tensors]
        found.append(
            (
                kind,
                [(float(each.scale[0]), int(each.zeroPoint[0])) for each in stored],
                [np.frombuffer(bytes(data), _TYPES[tensor.type]) for tensor, data in constants if data is not None],
            )
        )
    return found


def test_a_tflite_file_has_the_sources_scales_and_integers(source: Source, tmp_path: Path) -> None:
    before, after = layers(source.path), layers(compiled(TFLiteBackend(), source, tmp_path, io="int8").path)
    assert [kind for kind, _, _ in after] == [kind for kind, _, _ in before]
    assert {kind: len(constants) for kind, _, constants in before} == {
        "PAD": 1, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "ADD": 0, "AVERAGE_POOL_2D": 0, "FULLY_CONNECTED": 2,
        "SOFTMAX": 0,
    }  # fmt: skip
    for (kind, scales, constants), (_, again, copies) in zip(before, after, strict=True):
        for (scale, zero), (other, origin) in zip(scales, again, strict=True):
            assert other == scale, kind
            assert origin == zero, kind
        for stored, copy in zip(constants, copies, strict=True):
            np.testing.assert_array_equal(copy, stored)


def test_litert_answers_as_it_does_with_the_source(source: Source, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    again = compiled(TFLiteBackend(), source, tmp_path, io="int8").path
    images = np.random.default_rng(3).integers(-128, 128, (40, 16, 16, 3)).astype(np.int8)
    answers = []
    for path in (source.path, again):
        runner = Interpreter(str(path), num_threads=1).get_signature_runner()
        answers.append(np.concatenate([runner(image=image[None])["scores"] for image in images]))
    assert np.abs(answers[0].astype(int) - answers[1]).max() <= 1


def test_every_tensor_of_the_float_file_has_a_recorded_range(source: Source, tmp_path: Path) -> None:
    backend, model = TFLiteBackend(), Model.load(source.model)
    artifact = backend.compile(CompileRequest(source.model, FP32, None, None, tmp_path))
    content = artifact.path.read_bytes()
    ranges: Ranges = recorded_ranges(content, model, artifact.inputs, scope_names(model))
    graph = flatbuffer.read(content).subgraphs[0]
    computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    assert ranges.keys() == {graph.tensors[index].name.decode() for index in computed}
    assert all(each["min"] < each["max"] for each in ranges.values())


@pytest.mark.parametrize(
    "backend", [TFLiteBackend(), OpenVINOBackend(), OnnxRuntimeBackend()], ids=lambda backend: str(backend.name)
)
def test_the_runtimes_own_account_is_int8(backend: Backend, source: Source, tmp_path: Path) -> None:
    artifact = compiled(backend, source, tmp_path)
    samples, answers = tmp_path / "samples.npz", tmp_path / "answers.npz"
    images = np.random.default_rng(5).uniform(-1, 1, (64, 16, 16, 3)).astype(np.float32)
    np.savez(samples, image=images)
    measured, _ = measure(
        artifact.path, options=artifact.runtime_options, inputs=samples, outputs=answers, runtime=backend.runtime,
        timing=False,
    )  # fmt: skip
    proof = backend.prove(artifact.plan, measured[0].account)
    assert proof.violations == ()
    assert "int8" in proof.compute
    truth = run(Model.load(source.reference), {"image": images})["scores"]
    found = np.load(answers)["scores"]
    # A step of the logits moves a probability by several steps of 1/256.
    assert np.abs(found - truth).max() <= 0.05
    assert (found.argmax(1) == truth.argmax(1)).mean() >= 0.95


@pytest.mark.parametrize("backend", [OpenVINOBackend(), OnnxRuntimeBackend()], ids=lambda backend: str(backend.name))
def test_the_first_convolution_stays_in_float_on_x86(backend: Backend, source: Source, tmp_path: Path) -> None:
    """CPUs without VNNI would cut off its sums: the plan says so, and nothing else is excepted."""
    plan = compiled(backend, source, tmp_path).plan
    first = next(node.name for node in Model.load(source.model).graph if node.op_type == "Conv")
    assert plan.default is Precision.INT8
    assert [layer for layer, precision in plan.layers if precision is Precision.FP32] == [first]


def test_an_onnx_file_has_the_sources_scales_and_integers(source: Source, tmp_path: Path) -> None:
    import onnx
    from onnx.numpy_helper import to_array

    proto = onnx.load(compiled(OnnxRuntimeBackend(), source, tmp_path, saturates=False).path)
    held = {tensor.name: to_array(tensor) for tensor in proto.graph.initializer}
    rounding = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    after = {(float(held[node.input[1]]), int(held[node.input[2]]) - 128) for node in rounding}
    recorded = {
        (float(np.float32(each.scale)), each.zero_point) for each in recorded_params(Model.load(source.model)).values()
    }
    assert after <= recorded
    weights = [
        constant for _, _, constants in layers(source.path) for constant in constants if constant.dtype == np.int8
    ]
    ours = [value for value in held.values() if value.dtype == np.int8 and value.ndim > 1]
    assert sorted(np.sort(each, axis=None).tobytes() for each in ours) == sorted(
        np.sort(each, axis=None).tobytes() for each in weights if each.size > 1
    )
