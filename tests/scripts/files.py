"""Small artifacts and data that the tests of the bench script make themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

Array = np.ndarray[Any, Any]


def save_npz(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def save_onnx(path: Path, nodes: list[onnx.NodeProto], shape: list[int], weights: dict[str, Array]) -> Path:
    """Write a network from "x" to "y"."""
    graph = make_graph(
        nodes,
        "network",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10), path)
    return path


def convolution(path: Path, channels: int) -> Path:
    weight = np.random.default_rng(0).normal(size=(channels, channels, 3, 3))
    nodes = [make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)]
    return save_onnx(path, nodes, [1, channels, 32, 32], {"w": weight})
