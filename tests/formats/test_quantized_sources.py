"""Sources that are quantized already: read as what they are, held to their own runtime in steps of their own scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.core.errors import BrokenPromiseError, UnsupportedOpError
from edgekit.core.types import Layout
from edgekit.formats.importer import import_model
from edgekit.formats.parity import PARITY_STEPS, step_parity
from edgekit.formats.quantized import without_rounding
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams, quant_params, recorded_params
from edgekit.ir.run import max_relative, run
from edgekit.passes.normalise import normalise
from tests.formats.quantized_files import write_tflite

Imported = tuple[Path, dict[str, Any]]

MLPERF = {
    "pretrainedResnet_quant": 77706,
    "vww_96_int8": 210850,
    "ad01_int8": 265864,
    "kws_ref_model": 22604,
    "str_ww_ref_model": 46883,
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Imported]:
    """The folder and the report of an import of the small network; each kind of file is made and imported once."""
    made: dict[str, Imported] = {}

    def once(kind: str) -> Imported:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            made[kind] = folder, import_model(str(write_tflite(folder, kind)), str(folder))
        return made[kind]

    return once


@pytest.fixture(params=["int8", "uint8", "float32"])
def source(request: pytest.FixtureRequest, imported: Callable[[str], Imported]) -> Imported:
    return imported(request.param)


def test_a_quantized_file_becomes_a_float_model_and_a_reference_that_rounds(source: Imported) -> None:
    folder, report = source
    model, reference = Model.load(folder / "model.onnx"), Model.load(folder / "reference.onnx")
    assert report["quantized"] == "int8"
    assert [(spec.name, spec.dtype, spec.layout) for spec in model.inputs] == [("image", "float32", Layout.NHWC)]
    assert model.inputs[0].shape == (None, 16, 16, 3)
    assert [(spec.name, spec.dtype) for spec in model.outputs] == [("scores", "float32")]
    assert [spec.name for spec in (*reference.inputs, *reference.outputs)] == ["image", "scores"]
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in model.graph}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in reference.graph}
    assert "quantized already" in report["warnings"][-1]
    assert report["params"] == 8 * 27 + 8 + 8 * 9 + 8 + 128 * 24 + 24 + 24 * 5 + 5


def test_parity_is_told_in_steps(source: Imported) -> None:
    parity = source[1]["parity"]
    assert parity["runtime"].startswith("ai-edge-litert")
    assert 0 <= parity["rms_steps"] <= PARITY_STEPS
    assert parity["rms_steps"] <= parity["max_steps"]
    assert parity["samples"] == 32


def test_the_reference_answers_as_litert_does(imported: Callable[[str], Imported]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    folder, report = imported("int8")
    interpreter = Interpreter(str(folder / "int8.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (step, origin) = given["quantization"], taken["quantization"]
    integers = np.random.default_rng(7).integers(-128, 128, (50, 16, 16, 3)).astype(np.int8)
    answers = []
    for sample in integers:
        interpreter.set_tensor(given["index"], sample[None])
        interpreter.invoke()
        answers.append((interpreter.get_tensor(taken["index"]).astype(np.float32) - origin) * np.float32(step))
    floats = (integers.astype(np.float32) - zero) * np.float32(scale)
    found = run(Model.load(folder / "reference.onnx"), {"image": floats})["scores"]
    assert report["steps"] == {"scores": pytest.approx(step)}
    # A step of the logits is several of a probability.
    assert np.sqrt(np.mean((found - np.concatenate(answers)) ** 2)) <= 4 * step
    assert (found.argmax(1) == np.concatenate(answers).argmax(1)).mean() >= 0.96


def test_values_carry_the_scales_of_the_file(imported: Callable[[str], Imported]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    folder, _ = imported("int8")
    details = Interpreter(str(folder / "int8.tflite")).get_tensor_details()
    stored = {
        (float(d["quantization"][0]), int(d["quantization"][1]))
        for d in details
        if d["dtype"] is np.int8 and len(d["quantization_parameters"]["scales"]) == 1
    }
    recorded = recorded_params(Model.load(folder / "model.onnx"))
    assert {"image", "scores"} <= recorded.keys()
    assert {(params.scale, params.zero_point) for params in recorded.values()} <= stored


def test_bytes_without_a_sign_are_recorded_with_one(imported: Callable[[str], Imported]) -> None:
    signed, unsigned = (recorded_params(Model.load(imported(kind)[0] / "model.onnx")) for kind in ("int8", "uint8"))
    assert unsigned["image"] == signed["image"]


def test_activations_of_16_bits_are_refused(tmp_path: Path) -> None:
    path = write_tflite(tmp_path, "int16")
    with pytest.raises(UnsupportedOpError, match=r"the layer .* gives int16") as caught:
        import_model(str(path), str(tmp_path))
    assert "float model" in caught.value.remedy


def test_int8_weights_of_float_operators_make_a_float_source(tmp_path: Path) -> None:
    report = import_model(str(write_tflite(tmp_path, "dynamic")), str(tmp_path))
    assert report["quantized"] is None
    assert report["parity"]["max_relative"] < 1e-4
    assert recorded_params(Model.load(tmp_path / "model.onnx")) == {}


def test_a_wrong_zero_point_is_no_parity(imported: Callable[[str], Imported]) -> None:
    reference = Model.load(imported("int8")[0] / "reference.onnx")
    ends = {"image": QuantParams(1 / 127, 0), "scores": QuantParams(1 / 256, -128)}
    feeds = {"image": np.random.default_rng(0).integers(-128, 128, (32, 16, 16, 3)).astype(np.int8)}
    floats = {"image": feeds["image"].astype(np.float32) / np.float32(127)}
    right = run(reference, floats)["scores"]
    expected = {"scores": np.rint(right * 256 - 128).astype(np.int8)}
    assert step_parity(reference, ends, feeds, expected, "itself")["max_steps"] == 0
    broken = reference.clone()
    inner = [node for node in broken.graph if node.op_type == "QuantizeLinear"][3]
    shifted = np.asarray(inner.inputs[2].const_value.numpy() + 4, np.int8)  # type: ignore[union-attr]
    replacement = ir.val("shifted", const_value=ir.tensor(shifted, name="shifted"))
    broken.graph.register_initializer(replacement)
    inner.replace_input_with(2, replacement)
    with pytest.raises(BrokenPromiseError, match=r"int8 steps off itself \(root mean square\); 2\.0 are allowed"):
        step_parity(broken, ends, feeds, expected, "itself")


def test_a_qdq_file_of_onnx_runtime_is_a_source_too(convnet: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    """Its quantizer drops the ReLU that the range cuts off: the float model has it again."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            random = np.random.default_rng(0)
            self.samples = iter([{"image": random.standard_normal((1, 3, 8, 8), np.float32)} for _ in range(16)])

        def get_next(self) -> Any:
            return next(self.samples, None)

    floats, path = tmp_path / "float.onnx", tmp_path / "qdq.onnx"
    floats.write_bytes(convnet().SerializeToString())
    quantize_static(
        floats, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    report = import_model(str(path), str(tmp_path))
    assert report["quantized"] == "int8"
    model, images = Model.load(tmp_path / "model.onnx"), np.random.default_rng(1).standard_normal((8, 3, 8, 8))
    assert "Relu" in [node.op_type for node in model.graph]
    truth = run(normalise(convnet()), {"image": images.astype(np.float32)})
    assert max_relative(run(model, {"image": images.astype(np.float32)}), truth) < 0.1


def test_a_float_network_has_nothing_to_take_out(convnet: Callable[..., onnx.ModelProto]) -> None:
    network = normalise(convnet())
    model, rounding = without_rounding(network, seed=0)
    assert model is network
    assert rounding is None
    assert all(quant_params(value) is None for node in model.graph for value in node.outputs)


@pytest.mark.acceptance
@pytest.mark.parametrize("name", MLPERF)
def test_mlperf_tinys_int8_files_are_what_litert_runs(name: str, acceptance_data: Path, tmp_path: Path) -> None:
    """Measured: 0.5 (ResNet-8), 0.25 (VWW), 0 (ad01), 0.1 (keyword spotting) and 0 (wake word) steps."""
    report = import_model(str(acceptance_data / "mlperf_tiny_models" / f"{name}.tflite"), str(tmp_path))
    assert report["quantized"] == "int8"
    assert report["params"] == MLPERF[name]
    assert report["parity"]["rms_steps"] <= 1
    assert report["parity"]["max_steps"] <= 4
