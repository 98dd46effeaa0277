"""A small network as .tflite files that compute in integers, made by ai-edge-quantizer from our float file."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from edgekit.core.types import Layout, Precision, QuantPlan
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model, set_layout


def write_tflite(folder: Path, kind: str) -> Path:
    """The network in `folder`/<kind>.tflite.

    Args:
        folder: an existing folder.
        kind: int8 inside, with inputs and outputs of type "int8", "uint8" or "float32"; or activations of 16 bits,
            "int16"; or "dynamic": int8 weights for float operators.
    """
    from edgekit.backends.tflite.quantize import quantize
    from edgekit.lowering import scope_names

    path = folder / f"{kind}.tflite"
    if kind in {"int8", "uint8", "float32"}:
        images = _images()
        scopes = scope_names(float_model())
        path.write_bytes(
            quantize(_float_file(), QuantPlan(Precision.INT8), scopes=scopes, samples={"image": images}, io=kind)
        )
    else:
        path.write_bytes(_otherwise(kind))
    return path


def float_model() -> Model:
    """Convolutions, one of them depthwise, a residual, pooling, and two dense layers with a softmax."""
    random = np.random.default_rng(0)
    weights = {
        "stem.weight": random.normal(size=(8, 3, 3, 3), scale=0.3),
        "stem.bias": random.normal(size=8, scale=0.3),
        "depth.weight": random.normal(size=(8, 1, 3, 3), scale=0.3),
        "depth.bias": random.normal(size=8, scale=0.3),
        "hidden.weight": random.normal(size=(8 * 16, 24), scale=0.1),
        "hidden.bias": random.normal(size=24, scale=0.1),
        "head.weight": random.normal(size=(24, 5), scale=0.5),
        "head.bias": random.normal(size=5),
    }
    nodes = [
        make_node("Conv", ["image", "stem.weight", "stem.bias"], ["c"], "stem", pads=[1] * 4, strides=[2, 2]),
        make_node("Relu", ["c"], ["r"], "stem/relu"),
        make_node("Conv", ["r", "depth.weight", "depth.bias"], ["d"], "depth", pads=[1] * 4, group=8),
        make_node("Add", ["d", "r"], ["a"], "residual"),
        make_node("AveragePool", ["a"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        make_node("Flatten", ["p"], ["f"], "flatten"),
        make_node("Gemm", ["f", "hidden.weight", "hidden.bias"], ["h"], "hidden"),
        make_node("Relu", ["h"], ["hr"], "hidden/relu"),
        make_node("Gemm", ["hr", "head.weight", "head.bias"], ["logits"], "head"),
        make_node("Softmax", ["logits"], ["scores"], "probabilities"),
    ]
    graph = make_graph(
        nodes,
        "small",
        [make_tensor_value_info("image", onnx.TensorProto.FLOAT, [BATCH, 3, 16, 16])],
        [make_tensor_value_info("scores", onnx.TensorProto.FLOAT, None)],
        [from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model = Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True)))
    set_layout(model.graph.inputs[0], Layout.NCHW)
    return model


@functools.cache
def _float_file() -> bytes:
    from edgekit.backends.tflite.convert import convert

    return convert(float_model(), 1)[0]


def _images() -> np.ndarray[Any, Any]:
    """Calibration samples, channels last."""
    return np.random.default_rng(1).uniform(-1, 1, (64, 16, 16, 3)).astype(np.float32)


def _otherwise(kind: str) -> bytes:
    from ai_edge_quantizer import Quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    from edgekit.backends.tflite.calibrate import calibrate
    from edgekit.formats.tflite import flatbuffer

    quantizer = Quantizer(_float_file())
    if kind == "dynamic":
        quantizer.add_dynamic_config(".*", TFLOperationName.ALL_SUPPORTED, 8)
        ranges = None
    else:
        quantizer.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, 16, 8)
        ranges = calibrate(_float_file(), {"image": _images()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its interpreter, which is for debugging
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return flatbuffer.write(flatbuffer.read(bytes(result.quantized_model)))
