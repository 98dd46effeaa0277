"""Small graphs, lowered and held against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgekit.core.types import Layout, permutation
from edgekit.ir.model import IR_VERSION, OPSET, Model, set_layout
from edgekit.ir.run import run
from edgekit.passes.normalise.shapes import LIKE_THEIR_INPUT

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, Sequence[int | str]]


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Shapes,
    weights: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = ("y",),
    layouts: Mapping[str, Layout] | None = None,
) -> Model:
    """A normalised Model; nodes without a name get one, shapes are inferred."""
    for index, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model = Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)))
    _like_their_inputs(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        if layouts and (value.name or "") in layouts:
            set_layout(value, layouts[value.name or ""])
    return model


def _like_their_inputs(model: Model) -> None:
    for node in model.graph:
        source, output = node.inputs[0], node.outputs[0]
        if node.op_type in LIKE_THEIR_INPUT and source is not None:
            output.shape, output.type = source.shape, source.type


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Model]:
    return make_model


@pytest.fixture(scope="session")
def holds() -> Callable[..., list[str]]:
    """Lower a Model, run it as TensorFlow and as TFLite, compare with ONNX Runtime, return TFLite's op list."""

    def check(model: Model, *, low: float = -2.0, high: float = 2.0, seed: int = 0, batch: int = 2) -> list[str]:
        from edgekit.lowering import lower

        rng = np.random.default_rng(seed)
        feeds = {spec.name: rng.uniform(low, high, spec.with_batch(batch)).astype(np.float32) for spec in model.inputs}
        expected = list(run(model, feeds).values())
        module = lower(model)
        given = [
            feeds[spec.name].transpose(permutation(spec.layout, own.layout, len(spec.shape)))
            for spec, own in zip(model.inputs, module.inputs, strict=True)
        ]
        function = module.concrete_function(batch)
        answers, ops = _run_tflite(function, module, given)
        for results in (answers, [result.numpy() for result in function(*given)]):
            for spec, own, result, wanted in zip(model.outputs, module.outputs, results, expected, strict=True):
                logical = result.transpose(permutation(own.layout, spec.layout, result.ndim))
                assert logical.shape == wanted.shape
                np.testing.assert_allclose(logical, wanted, atol=2e-5 * max(1.0, np.abs(wanted).max()), rtol=1e-4)
        return ops

    return check


def _run_tflite(function: Any, module: Any, given: Sequence[Array]) -> tuple[list[Array], list[str]]:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    content = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    answers = runner(**{f"input_{index}": value for index, value in enumerate(given)})
    ops = [op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    return [answers[f"output_{index}"] for index in range(len(answers))], ops
