"""A small network for the tests of back ends, and how they compile and run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from edgekit.backends.base import CompileRequest
from edgekit.core.plain import from_json
from edgekit.core.types import Artifact
from edgekit.devices.bench import measure
from edgekit.ir.model import BATCH, IR_VERSION, OPSET
from edgekit.pipeline.child import call

Array = np.ndarray[Any, Any]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[Any]],
    weights: dict[str, Array],
    outputs: tuple[str, ...] = (),
) -> Path:
    """Write a Model of `nodes`; unless `outputs` are named, what no node reads is one. Weights are float32 or whole."""
    read = {name for node in nodes for name in node.input}
    unread = [name for node in nodes for name in node.output if name and name not in read]
    graph = make_graph(
        nodes,
        "small",
        [make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs or unread],
        [
            from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    proto = make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.save(onnx.shape_inference.infer_shapes(proto), path)
    return path


def save_small(path: Path) -> Path:
    """Two inputs, a residual, a depthwise layer whose weights are mostly too small for float16, and two outputs."""
    rng = np.random.default_rng(0)
    tiny = np.where(rng.random((16, 1, 3, 3)) < 0.8, 1e-9, rng.normal(size=(16, 1, 3, 3), scale=0.3))
    weights = {
        "stem.weight": rng.normal(size=(16, 3, 3, 3), scale=0.3),
        "stem.bias": rng.normal(size=16),
        "depth.weight": tiny,
        "point.weight": rng.normal(size=(32, 16, 1, 1), scale=0.3),
        "head.weight": rng.normal(size=(32 * 36, 5), scale=0.05),
        "head.bias": rng.normal(size=5),
    }
    nodes = [
        make_node("Conv", ["image", "stem.weight", "stem.bias"], ["c"], "stem", pads=[1] * 4, strides=[2, 2]),
        make_node("Relu", ["c"], ["r"], "stem/relu"),
        make_node("Conv", ["r", "depth.weight"], ["d"], "depth", pads=[1] * 4, group=16),
        make_node("Add", ["d", "r"], ["residual_out"], "residual"),
        make_node("Mul", ["residual_out", "gain"], ["g"], "gain_layer"),
        make_node("Conv", ["g", "point.weight"], ["p"], "point"),
        make_node("Relu", ["p"], ["features"], "point/relu"),
        make_node("Flatten", ["features"], ["f"], "flatten"),
        make_node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], "head"),
        make_node("Softmax", ["logits"], ["z_scores"], "scores"),
        make_node("Neg", ["residual_out"], ["a_map"], "map"),
    ]
    inputs = {"image": [BATCH, 3, 12, 12], "gain": [BATCH, 16, 1, 1]}
    return save(path, nodes, inputs, weights)


def samples(count: int, seed: int = 1) -> dict[str, Array]:
    """Inputs of the small network."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(count, 3, 12, 12)).astype(np.float32),
        "gain": rng.uniform(0.5, 1.5, size=(count, 16, 1, 1)).astype(np.float32),
    }


def compile_in_child(backend: str, request: CompileRequest) -> Artifact:
    """Compile in a fresh process, as the pipeline does."""
    answer = call(
        "edgekit.pipeline.native:compile_artifact",
        {"backend": backend, "request": request},
        what="compiling",
        blame="the test",
    )
    files = tuple(request.workdir / name for name in answer["files"])
    artifact: Artifact = from_json(Artifact, {**answer, "files": files})
    return artifact


def answers(artifact: Artifact, feeds: dict[str, Array], folder: Path) -> dict[str, Array]:
    """What an artifact answers, in order and under its own names."""
    np.savez(folder / "inputs.npz", **feeds)  # type: ignore[arg-type]
    measure(
        artifact.path,
        options=artifact.runtime_options,
        inputs=folder / "inputs.npz",
        outputs=folder / "outputs.npz",
        timing=False,
    )
    return dict(np.load(folder / "outputs.npz"))


def sqnr(reference: Array, value: Array) -> float:
    """Signal to quantization noise, in dB."""
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - value) ** 2)))
