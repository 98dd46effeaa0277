"""Small ONNX files, written where a test wants them, and what became of TensorFlow's models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

Shapes = Mapping[str, Sequence[int | str | None]]


QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONWARNINGS": "ignore",
}


@pytest.fixture(scope="session")
def tensorflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `tensorflow_scenarios.py` left its models: one process, since TensorFlow takes seconds to load."""
    out = tmp_path_factory.mktemp("tensorflow")
    script = Path(__file__).with_name("tensorflow_scenarios.py")
    data = os.environ.get("EDGEKIT_ACCEPTANCE_DATA")
    done = subprocess.run(
        [sys.executable, str(script), str(out), *([data] if data else [])],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **QUIET},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="session")
def tensorflow_results(tensorflow_folder: Path) -> dict[str, dict[str, Any]]:
    """What each import answered, by scenario."""
    answers: dict[str, dict[str, Any]] = json.loads((tensorflow_folder / "results.json").read_text())
    return answers


@pytest.fixture
def onnx_model() -> Callable[..., onnx.ModelProto]:
    """Makes a model from nodes, input and output shapes, and weights."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        inputs: Shapes,
        outputs: Shapes,
        weights: Mapping[str, np.ndarray[Any, Any]],
        *,
        opset: int = 18,
        dtype: int = onnx.TensorProto.FLOAT,
        functions: Sequence[onnx.FunctionProto] = (),
        domains: Sequence[str] = (),
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            list(nodes),
            "small",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9)

    return make


@pytest.fixture
def convnet(onnx_model: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """Makes a small classifier of 3×8×8 images: Conv, BatchNormalization, Relu, MaxPool, Dropout, Reshape, MatMul."""

    def make(
        *, opset: int = 18, batch: int | str = 1, size: int | str = 8, flat: Sequence[int] = (1, 128)
    ) -> onnx.ModelProto:
        random = np.random.default_rng(0)
        weights = {
            "conv.weight": random.standard_normal((8, 3, 3, 3), np.float32),
            "conv.bias": random.standard_normal(8, np.float32),
            **{f"bn.{name}": random.random(8, np.float32) + 0.5 for name in ("scale", "bias", "mean", "var")},
            "flat": np.array(flat, np.int64),
            "fc.weight": random.standard_normal((128, 5), np.float32),
        }
        nodes = [
            helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], "/conv/Conv", pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", ["c", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["n"], "/bn/BatchNormalization"
            ),
            helper.make_node("Relu", ["n"], ["r"]),
            helper.make_node("MaxPool", ["r"], ["p"], "/pool/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Dropout", ["p"], ["d"], "/drop/Dropout"),
            helper.make_node("Reshape", ["d", "flat"], ["f"], "/flatten/Reshape"),
            helper.make_node("MatMul", ["f", "fc.weight"], ["scores"], "/fc/MatMul"),
        ]
        return onnx_model(nodes, {"image": [batch, 3, size, size]}, {"scores": [batch, 5]}, weights, opset=opset)

    return make


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[onnx.ModelProto], Path]:
    """Writes a model to model.onnx and gives its path."""

    def save(model: onnx.ModelProto) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return save
