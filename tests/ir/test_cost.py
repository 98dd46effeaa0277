"""Costs against figures that were worked out elsewhere: by hand and by the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgekit.ir.cost import ModelCost, model_cost
from edgekit.ir.model import Model

Array = np.ndarray[Any, Any]


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, Array], shape: list[str | int], *, infer: bool = True
) -> Model:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, k) for k, v in constants.items()])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True) if infer else proto))


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def _one(op: str, shape: list[str | int], *constants: Array, **attributes: Any) -> ModelCost:
    names = {f"c{i}": value for i, value in enumerate(constants)}
    return model_cost(_model([helper.make_node(op, ["x", *names], ["y"], name="layer", **attributes)], names, shape))


@pytest.mark.parametrize(
    ("cost", "macs", "params"),
    [
        # AlexNet's first layer: 55·55·96 outputs, each over 11·11·3.
        (_one("Conv", ["batch", 3, 227, 227], _zeros(96, 3, 11, 11), _zeros(96), strides=[4, 4]), 105_415_200, 34_944),
        # Depthwise 3×3 on 112×112×32 (MobileNetV1): 112·112·32·9.
        (_one("Conv", ["batch", 32, 112, 112], _zeros(32, 1, 3, 3), group=32, pads=[1] * 4), 3_612_672, 288),
        # A transposed convolution does the work of the convolution that it transposes: 8·8·16 inputs over 4·4·8.
        (_one("ConvTranspose", ["batch", 16, 8, 8], _zeros(16, 8, 4, 4), strides=[2, 2]), 131_072, 2_048),
        (_one("Gemm", ["batch", 640], _zeros(128, 640), _zeros(128), transB=1), 81_920, 82_048),
        (_one("MatMul", ["batch", 7, 5], _zeros(5, 6)), 210, 30),
        # PyTorch's LSTM(10, 20) over 5 steps: 5·4·20·(10 + 20).
        (_one("LSTM", [5, 1, 10], _zeros(1, 80, 10), _zeros(1, 80, 20), hidden_size=20), 12_000, 2_400),
        (_one("Relu", ["batch", 3, 8, 8]), 0, 0),
        (_one("Clip", ["batch", 3], _zeros(), _zeros()), 0, 0),
    ],
    ids=["conv", "depthwise", "transposed", "gemm", "matmul", "lstm", "relu", "clip"],
)
def test_a_layer_costs_what_its_definition_says(cost: ModelCost, macs: int, params: int) -> None:
    assert (cost.macs, cost.params) == (macs, params)


def test_shared_weights_count_once_and_shapes_are_for_one_sample() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "w"], ["y"], name="second"),
    ]
    cost = model_cost(_model(nodes, {"w": _zeros(4, 4)}, ["batch", 4]))
    assert (cost.params, cost.macs, cost.weight_bytes) == (16, 32, 64)
    assert [(layer.name, layer.op, layer.params) for layer in cost.layers] == [
        ("first", "MatMul", 16),
        ("second", "MatMul", 0),
    ]
    assert cost.layers[0].inputs == cost.layers[0].outputs == ((1, 4),)


def _residual() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Relu", ["x"], ["a"], name="a"),
        helper.make_node("MatMul", ["a", "wide"], ["b"], name="b"),
        helper.make_node("MatMul", ["b", "narrow"], ["c"], name="c"),
        helper.make_node("Reshape", ["c", "shape"], ["d"], name="d"),
        helper.make_node("Add", ["a", "d"], ["y"], name="y"),
    ]


def _residual_constants() -> dict[str, Array]:
    return {"wide": _zeros(10, 100), "narrow": _zeros(100, 10), "shape": np.array([-1, 10])}


@pytest.mark.parametrize("infer", [True, False])
def test_memory_holds_what_is_still_to_be_read(infer: bool) -> None:
    """4 bytes a figure: x 10, a 10 until the Add, b 100, c 10; the Reshape gives c's own bytes."""
    cost = model_cost(_model(_residual(), _residual_constants(), ["batch", 10], infer=infer))
    assert [layer.live_bytes // 4 for layer in cost.layers] == [20, 110, 120, 20, 30]
    assert (cost.peak_bytes, cost.peak_layer) == (480, "c")


def test_costing_leaves_the_model_alone() -> None:
    model = _model(_residual(), _residual_constants(), ["batch", 10], infer=False)
    before = model.digest
    model_cost(model)
    assert model.digest == before


def test_an_output_stays_to_the_end() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="a"),
        helper.make_node("Neg", ["a"], ["b"], name="b"),
        helper.make_node("Abs", ["b"], ["y"], name="y"),
    ]
    model = _model(nodes, {}, ["batch", 10])
    assert [layer.live_bytes // 4 for layer in model_cost(model).layers] == [20, 20, 20]
    model.graph.outputs.append(model.graph[0].outputs[0])
    assert [layer.live_bytes // 4 for layer in model_cost(model).layers] == [20, 20, 30]
