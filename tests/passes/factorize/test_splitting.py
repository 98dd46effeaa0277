"""A layer cut in two answers as it did, where all of its rank is kept, and costs what is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.ir.cost import model_cost
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.factorize.decomposition import decompose
from edgekit.passes.factorize.splitting import Splittable, splittable

_IMAGE, _SOUND, _ROWS = (8, 12, 10), (8, 20), (6, 8)
_CASES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "padded": ("Conv", _IMAGE, (16, 8, 3, 3), {"pads": [1, 1, 1, 1]}),
    "strided": ("Conv", _IMAGE, (16, 8, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "uneven": ("Conv", _IMAGE, (16, 8, 5, 3), {"strides": [1, 2], "dilations": [2, 1], "pads": [4, 1, 3, 0]}),
    "same": ("Conv", _IMAGE, (16, 8, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "lower": ("Conv", _IMAGE, (16, 8, 4, 4), {"auto_pad": "SAME_LOWER"}),
    "pointwise": ("Conv", _IMAGE, (16, 8, 1, 1), {"strides": [2, 2]}),
    "row": ("Conv", _IMAGE, (16, 8, 1, 3), {"strides": [2, 1]}),
    "column": ("Conv", _IMAGE, (16, 8, 3, 1), {"strides": [1, 2], "pads": [1, 0, 1, 0]}),
    "sound": ("Conv", _SOUND, (16, 8, 5), {"strides": [2], "pads": [2, 2]}),
    "dense": ("Gemm", (8,), (8, 16), {}),
    "dense, turned": ("Gemm", (8,), (16, 8), {"transB": 1}),
    "rows": ("MatMul", _ROWS, (8, 16), {}),
}


def _layer(op: str, size: tuple[int, ...], shape: tuple[int, ...], attributes: dict[str, Any], uses: int = 1) -> Model:
    random = np.random.default_rng(0)
    constants = [numpy_helper.from_array(random.normal(0, 0.2, shape).astype(np.float32), "weights")]
    inputs = ["input", "weights"]
    if op != "MatMul":
        outputs = shape[0] if op == "Conv" or attributes.get("transB") else shape[1]
        constants.append(numpy_helper.from_array(random.normal(0, 1, outputs).astype(np.float32), "bias"))
        inputs.append("bias")
    nodes = [helper.make_node(op, inputs, [f"output{at}"], name=f"layer{at}", **attributes) for at in range(uses)]
    # The axes of what comes out are found by the shape inference.
    made = [helper.make_empty_tensor_value_info(f"output{at}") for at in range(uses)]
    taken = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [BATCH, *size])]
    graph = helper.make_graph(nodes, "layer", taken, made, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True)))


def _only(model: Model) -> Splittable:
    (layer,) = splittable(model)
    return layer


@pytest.mark.parametrize("case", _CASES)
def test_with_all_of_its_rank_it_answers_as_before(case):
    model = _layer(*_CASES[case])
    layer, feeds = _only(model), probe(model, 0, 3)
    parts = decompose(layer.matrix, None)
    split = model.clone()
    layer.split(split.graph, parts.first, parts.second)
    onnx.checker.check_model(ir.to_proto(split.proto), full_check=True)
    assert [node.name for node in split.graph] == ["layer0/reduce", "layer0"]
    assert max_relative(run(split, feeds), run(model, feeds)) < 1e-5


@pytest.mark.parametrize("case", _CASES)
def test_of_a_lower_rank_it_answers_as_the_layer_with_such_weights(case):
    model = _layer(*_CASES[case])
    layer, feeds = _only(model), probe(model, 0, 3)
    parts = decompose(layer.matrix, None).truncated(3)
    split, joined = model.clone(), model.clone()
    layer.split(split.graph, parts.first, parts.second)
    layer.join(joined.graph, parts.first, parts.second)
    assert max_relative(run(split, feeds), run(joined, feeds)) < 1e-5
    assert max_relative(run(split, feeds), run(model, feeds)) > 1e-2


@pytest.mark.parametrize("case", _CASES)
def test_it_costs_what_was_said(case):
    model = _layer(*_CASES[case])
    layer = _only(model)
    assert layer.macs == model_cost(model).macs
    parts = decompose(layer.matrix, None).truncated(layer.most)
    split = model.clone()
    layer.split(split.graph, parts.first, parts.second)
    assert model_cost(split).macs == layer.most * layer.macs_per_rank < layer.macs
    assert layer.most == layer.full - 1 or (layer.most + 1) * layer.macs_per_rank >= layer.macs


@pytest.mark.parametrize(
    ("op", "size", "shape", "attributes", "uses"),
    [
        ("Conv", (8, 6, 6), (8, 1, 3, 3), {"group": 8}, 1),
        ("Conv", (8, 6, 6), (8, 4, 3, 3), {"group": 2}, 1),
        ("Conv", (4, 6, 6, 6), (8, 4, 3, 3, 3), {}, 1),
        ("Gemm", (8,), (8, 16), {"alpha": 0.5}, 1),
        ("Conv", (8, 6, 6), (8, 8, 3, 3), {}, 2),
        ("Gemm", (2,), (2, 2), {}, 1),
    ],
    ids=["depthwise", "grouped", "of volumes", "scaled", "shared", "tiny"],
)
def test_what_stays_whole(op, size, shape, attributes, uses):
    assert not splittable(_layer(op, size, shape, attributes, uses))
