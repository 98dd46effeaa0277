"""Silent fall-backs, planted in each back end: what was compiled as int8 or dynamic computes in float: exit code 11."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MODEL = _ROOT / "models" / "digits-cnn"
_BUILD = (
    "build", _MODEL / "digits-cnn.onnx", "--backend", "onnx", "--device", "local",
    "--train-data", _MODEL / "train.npz", "--eval-data", _MODEL / "eval.npz", "--json",
)  # fmt: skip

# OpenVINO takes unsigned weights, and computes with them in float.
_UNSIGNED_WEIGHTS = """
import dataclasses
import numpy as np
from edgekit.backends.openvino import OpenVINOBackend
from edgekit.core.digest import digest_files

class OnnxBackend(OpenVINOBackend):
    name = "onnx"

    def compile(self, request):
        artifact = super().compile(request)
        if request.plan.default == "int8":
            import openvino as ov
            model = ov.Core().read_model(artifact.path)
            for op in model.get_ordered_ops():
                if op.get_friendly_name() == "widen/WithoutBiases":
                    scaled = op.input_value(1).get_node()
                    while scaled.get_type_name() != "Multiply":
                        scaled = scaled.input_value(0).get_node()
                    (stored,) = (scaled.input_value(0).get_node().input_value(0).get_node(),)
                    shifted = (stored.get_data().astype(np.int16) + 128).astype(np.uint8)
                    wide = ov.opset13.convert(ov.op.Constant(shifted), "f32")
                    zero = ov.op.Constant(np.array(128, np.float32))
                    scaled.input(0).replace_source_output(ov.opset13.subtract(wide, zero).output(0))
            other = artifact.path.with_name("planted.xml")
            ov.save_model(model, other, compress_to_fp16=False)
            files = (other, other.with_suffix(".bin"))
            return dataclasses.replace(artifact, files=files, digest=digest_files(files))
        return artifact
"""
# ai-edge-quantizer leaves out what no rule matches, without a word.
_LEFT_OUT = """
import dataclasses
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.types import Precision

class OnnxBackend(TFLiteBackend):
    name = "onnx"

    def compile(self, request):
        plan = request.plan
        if plan.default in ("int8", "dynamic"):
            less = dataclasses.replace(request, plan=dataclasses.replace(plan, layers=(("widen", Precision.FP32),)))
            promised = super().compile(request).plan
            return dataclasses.replace(super().compile(less), plan=promised)
        return super().compile(request)
"""
# With a bias in another scale than input × weights, ONNX Runtime fuses a convolution into no integer kernel.
_NOT_FUSED = """
import dataclasses
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.core.digest import digest_file

class OnnxBackend(OnnxRuntimeBackend):
    name = "onnx"

    def compile(self, request):
        artifact = super().compile(request)
        if request.plan.default == "int8":
            import onnx
            proto = onnx.load(artifact.path)
            (layer,) = (node for node in proto.graph.node if node.name == "widen")
            (bias,) = (node for node in proto.graph.node if layer.input[2] in node.output)
            (scale,) = (tensor for tensor in proto.graph.initializer if tensor.name == bias.input[1])
            doubled = onnx.numpy_helper.to_array(scale) * 2
            scale.CopyFrom(onnx.numpy_helper.from_array(doubled, scale.name))
            onnx.save(proto, artifact.path)
        return dataclasses.replace(artifact, digest=digest_file(artifact.path))
"""
# The weights are int8, and a DequantizeLinear makes them float for a product in float.
_WEIGHTS_ALONE = """
import dataclasses
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.core.digest import digest_file

class OnnxBackend(OnnxRuntimeBackend):
    name = "onnx"

    def compile(self, request):
        artifact = super().compile(request)
        if request.plan.default == "dynamic":
            import onnx
            proto = onnx.load(artifact.path)
            nodes = proto.graph.node
            (layer,) = (node for node in nodes if node.name == "digit")
            (rounding,) = (node for node in nodes if layer.input[0] in node.output)
            (floats,) = (node for node in nodes if layer.output[0] in node.input)
            (steps,) = (node for node in nodes if node.name == "digit/scale")
            (scaled,) = (node for node in nodes if node.name == "digit/scaled")
            restored = onnx.helper.make_node(
                "DequantizeLinear", [layer.input[1], steps.input[1]], ["restored"], "digit/weights", axis=1
            )
            layer.op_type = "MatMul"
            layer.input[:], layer.output[:] = [rounding.input[0], "restored"], scaled.output[:]
            for node in (rounding, floats, steps, scaled):
                nodes.remove(node)
            nodes.insert(0, restored)
            onnx.save(proto, artifact.path)
        return dataclasses.replace(artifact, digest=digest_file(artifact.path))
"""


@pytest.mark.parametrize(
    ("source", "target", "precision", "layer"),
    [
        pytest.param(_UNSIGNED_WEIGHTS, "intel-cpu", "int8", "widen", id="openvino"),
        pytest.param(_LEFT_OUT, "raspberry-pi-4", "int8", "widen", id="tflite"),
        pytest.param(_LEFT_OUT, "raspberry-pi-4", "dynamic", "widen", id="tflite, dynamic"),
        pytest.param(_NOT_FUSED, "intel-cpu", "int8", "widen", id="onnxruntime"),
        pytest.param(_WEIGHTS_ALONE, "intel-cpu", "dynamic", "digit", id="onnxruntime, dynamic"),
    ],
)
def test_a_layer_that_falls_back_to_float_fails_the_build_and_is_named(plugin, source, target, precision, layer):
    done = plugin(source, *_BUILD, "--target", target, "--precision", precision)
    assert done.returncode == 11, done.stderr
    (report,) = json.loads(done.stdout)["targets"]
    assert report["exit_code"] == 11
    assert report["files"] == []
    assert layer in report["error"]["cause"].partition("ran in float32")[0]
