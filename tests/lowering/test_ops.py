"""Every op family against ONNX Runtime, through TensorFlow and through TFLite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from edgekit.core.types import Layout
from edgekit.ir import Model

Array = np.ndarray[Any, Any]
Build = Callable[..., Model]
Holds = Callable[..., list[str]]
Cases = dict[str, tuple[Any, ...]]

rng = np.random.default_rng(7)


def floats(*shape: int) -> Array:
    return np.asarray(rng.normal(size=shape), np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


IMAGE = {"x": ("batch", 4, 9, 10)}
NCHW = {"x": Layout.NCHW, "y": Layout.NCHW}

CONVS: Cases = {
    "plain": ({}, (6, 4, 3, 3), IMAGE),
    "pointwise": ({}, (6, 4, 1, 1), IMAGE),
    "same": ({"pads": [1, 1, 1, 1]}, (6, 4, 3, 3), IMAGE),
    "symmetric padding at stride 2": ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (6, 4, 3, 3), IMAGE),
    "unequal padding": ({"pads": [0, 2, 1, 3]}, (6, 4, 3, 3), IMAGE),
    "unequal strides": ({"strides": [1, 2]}, (6, 4, 3, 3), IMAGE),
    "SAME_UPPER": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (6, 4, 3, 3), IMAGE),
    "SAME_LOWER": ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (6, 4, 3, 3), IMAGE),
    "VALID": ({"auto_pad": "VALID"}, (6, 4, 2, 3), IMAGE),
    "dilated": ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, (6, 4, 3, 3), IMAGE),
    "grouped": ({"group": 2, "pads": [1, 1, 1, 1]}, (6, 2, 3, 3), IMAGE),
    "depthwise": ({"group": 4, "pads": [1, 1, 1, 1]}, (4, 1, 3, 3), IMAGE),
    "depthwise at stride 2": ({"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]}, (4, 1, 3, 3), IMAGE),
    "depthwise with multiplier": ({"group": 4}, (8, 1, 3, 3), IMAGE),
    "depthwise dilated": ({"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}, (4, 1, 3, 3), IMAGE),
    "depthwise with unequal strides": ({"group": 4, "strides": [1, 2]}, (4, 1, 3, 3), IMAGE),
    "dilated at stride 2": ({"dilations": [2, 2], "strides": [2, 2]}, (6, 4, 3, 3), IMAGE),
    "1-D": ({"pads": [1, 1]}, (6, 4, 3), {"x": ("batch", 4, 11)}),
    "1-D at stride 2": ({"pads": [1, 1], "strides": [2]}, (6, 4, 3), {"x": ("batch", 4, 10)}),
    "1-D depthwise": ({"pads": [2, 2], "group": 4}, (4, 1, 5), {"x": ("batch", 4, 11)}),
    "1-D dilated": ({"dilations": [2], "pads": [2, 2]}, (6, 4, 3), {"x": ("batch", 4, 11)}),
}


@pytest.mark.parametrize("case", CONVS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_conv(case: str, bias: bool, model_of: Build, holds: Holds) -> None:
    attributes, kernel, inputs = CONVS[case]
    weights = {"w": floats(*kernel)} | ({"b": floats(kernel[0])} if bias else {})
    node = make_node("Conv", ["x", *weights], ["y"], **attributes)
    ops = holds(model_of([node], inputs, weights, layouts=NCHW if len(kernel) == 4 else None))
    assert len(kernel) == 3 or "TRANSPOSE" not in ops


POOLS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "overlapping": {"kernel_shape": [3, 3], "strides": [2, 2]},
    "same": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "explicit": {"kernel_shape": [3, 3], "pads": [0, 1, 0, 1], "strides": [2, 2]},
    "SAME_LOWER": {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
    "ceil": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "ceil and pads": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "ceil_mode": 1},
}


@pytest.mark.parametrize("case", POOLS)
def test_max_pool(case: str, model_of: Build, holds: Holds) -> None:
    ops = holds(model_of([make_node("MaxPool", ["x"], ["y"], **POOLS[case])], IMAGE, layouts=NCHW))
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("include_pad", [0, 1])
def test_average_pool(case: str, include_pad: int, model_of: Build, holds: Holds) -> None:
    node = make_node("AveragePool", ["x"], ["y"], count_include_pad=include_pad, **POOLS[case])
    assert "TRANSPOSE" not in holds(model_of([node], IMAGE, layouts=NCHW))


def test_pool_of_a_sequence(model_of: Build, holds: Holds) -> None:
    node = make_node("MaxPool", ["x"], ["y"], kernel_shape=[3], pads=[1, 1], strides=[2])
    holds(model_of([node], {"x": ("batch", 4, 10)}))


def test_max_pool_behind_relu_pads_with_zeros(model_of: Build, holds: Holds) -> None:
    """A −∞ border would ruin the range of an int8 tensor."""
    nodes = [make_node("Relu", ["x"], ["r"]), make_node("MaxPool", ["r"], ["y"], **POOLS["explicit"])]
    assert "PAD" in holds(model_of(nodes, IMAGE, layouts=NCHW))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(op: str, model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node(op, ["x"], ["y"])], IMAGE, layouts=NCHW))


@pytest.mark.parametrize("op", ["Flatten", "Squeeze", "Reshape"])
def test_global_pool_needs_no_reshape(op: str, model_of: Build, holds: Holds) -> None:
    shapes = {"Flatten": {}, "Squeeze": {"s": ints(2, 3)}, "Reshape": {"s": ints(-1, 4)}}[op]
    nodes = [make_node("GlobalAveragePool", ["x"], ["g"]), make_node(op, ["g", *shapes], ["y"])]
    assert holds(model_of(nodes, IMAGE, shapes, layouts={"x": Layout.NCHW})) == ["MEAN"]


GEMMS: Cases = {
    "plain": ({}, (6, 5), (5,)),
    "transposed": ({"transB": 1}, (5, 6), (5,)),
    "scaled": ({"alpha": 0.5, "beta": 2.0}, (6, 5), (5,)),
    "bias of shape (1, N)": ({}, (6, 5), (1, 5)),
    "scalar bias": ({}, (6, 5), ()),
    "no bias": ({"transB": 1}, (5, 6), None),
}


@pytest.mark.parametrize("case", GEMMS)
def test_gemm(case: str, model_of: Build, holds: Holds) -> None:
    attributes, kernel, bias = GEMMS[case]
    weights = {"w": floats(*kernel)} | ({"b": floats(*bias)} if bias is not None else {})
    holds(model_of([make_node("Gemm", ["x", *weights], ["y"], **attributes)], {"x": ("batch", 6)}, weights))


def test_gemm_of_two_inputs(model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node("Gemm", ["x", "z"], ["y"], transA=1)], {"x": (6, 3), "z": (6, 5)}))


@pytest.mark.parametrize("shape", [(6, 5), (5, 6, 3), (6,)])
def test_matmul_with_weights(shape: tuple[Any, ...], model_of: Build, holds: Holds) -> None:
    inputs = {"x": ("batch", 5, 4, 6)} if len(shape) == 3 else {"x": ("batch", 4, 6)}
    holds(model_of([make_node("MatMul", ["x", "w"], ["y"])], inputs, {"w": floats(*shape)}))


def test_matmul_of_two_inputs(model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node("MatMul", ["x", "z"], ["y"])], {"x": ("batch", 4, 6), "z": ("batch", 6, 3)}))


BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"]
OTHERS: Cases = {"scalar": (), "channel": (4, 1, 1), "row": (10,), "full": (1, 4, 9, 10)}


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize("other", OTHERS)
def test_binary_with_a_constant(op: str, other: str, model_of: Build, holds: Holds) -> None:
    constant = np.abs(floats(*OTHERS[other])) + np.float32(0.5)
    model = model_of([make_node(op, ["x", "c"], ["y"])], IMAGE, {"c": constant}, layouts=NCHW)
    assert "TRANSPOSE" not in holds(model, low=0.1)


@pytest.mark.parametrize("op", ["Add", "Sub"])
def test_constant_on_the_left(op: str, model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node(op, ["c", "x"], ["y"])], IMAGE, {"c": floats(4, 1, 1)}, layouts=NCHW))


@pytest.mark.parametrize("shape", [("batch", 4, 9, 10), ("batch", 4, 1, 1), ("batch", 1, 9, 1)])
def test_binary_of_two_inputs(shape: tuple[Any, ...], model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node("Mul", ["x", "z"], ["y"])], {**IMAGE, "z": shape}, layouts=NCHW))


def test_binary_with_a_computed_tensor_of_lower_rank(model_of: Build, holds: Holds) -> None:
    nodes = [make_node("ReduceMax", ["x", "a"], ["r"], keepdims=0), make_node("Sub", ["x", "r"], ["y"])]
    holds(model_of(nodes, IMAGE, {"a": ints(0, 1)}, layouts=NCHW))


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_variadic(op: str, model_of: Build, holds: Holds) -> None:
    inputs = {**IMAGE, "z": IMAGE["x"], "v": IMAGE["x"]}
    holds(model_of([make_node(op, ["x", "z", "v"], ["y"])], inputs, layouts=NCHW))


UNARY = [
    ("Neg", {}), ("Abs", {}), ("Exp", {}), ("Floor", {}), ("Ceil", {}), ("Sign", {}), ("Sin", {}), ("Cos", {}),
    ("Round", {}), ("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("Elu", {}), ("Elu", {"alpha": 0.5}), ("Sigmoid", {}),
    ("Tanh", {}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 1 / 6}), ("HardSwish", {}), ("Softplus", {}),
    ("Softsign", {}), ("Identity", {}), ("Cast", {"to": 1}), ("Softmax", {"axis": 1}), ("Softmax", {}),
    ("LogSoftmax", {"axis": 1}), ("Dropout", {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes"), UNARY)
def test_unary(op: str, attributes: dict[str, Any], model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node(op, ["x"], ["y"], **attributes)], IMAGE, layouts=NCHW), low=-5, high=5)


@pytest.mark.parametrize("op", ["Log", "Sqrt", "Reciprocal"])
def test_unary_of_positive(op: str, model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node(op, ["x"], ["y"])], IMAGE, layouts=NCHW), low=0.1)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 6), (0, None), (-1, 1), (0, 1), (None, 2), (-1.5, None), (-0.5, 1.25), (None, None)]
)
def test_clip(low: float | None, high: float | None, model_of: Build, holds: Holds) -> None:
    bounds = {name: np.float32(value) for name, value in (("low", low), ("high", high)) if value is not None}
    names = [name if name in bounds else "" for name in ("low", "high")]
    holds(model_of([make_node("Clip", ["x", *names], ["y"])], IMAGE, bounds, layouts=NCHW), low=-8, high=8)


def test_prelu(model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node("PRelu", ["x", "s"], ["y"])], IMAGE, {"s": floats(4, 1, 1)}, layouts=NCHW))


@pytest.mark.parametrize("inputs", [IMAGE, {"x": ("batch", 4)}, {"x": ("batch", 4, 7)}], ids=["image", "table", "row"])
def test_batch_normalization(inputs: dict[str, Any], model_of: Build, holds: Holds) -> None:
    weights = {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + np.float32(0.1)}
    node = make_node("BatchNormalization", ["x", *weights], ["y"], epsilon=1e-3)
    layouts = NCHW if len(inputs["x"]) == 4 else None
    holds(model_of([node], inputs, weights, layouts=layouts))


RESHAPES: Cases = {"merge": (-1, 36, 10), "split": (-1, 2, 2, 9, 10), "flatten": (-1, 360), "keep": (0, 4, 9, 10)}


@pytest.mark.parametrize("case", RESHAPES)
@pytest.mark.parametrize("layouts", [NCHW, None], ids=["image", "any"])
def test_reshape(case: str, layouts: dict[str, Layout] | None, model_of: Build, holds: Holds) -> None:
    layouts = layouts and {"x": Layout.NCHW}
    holds(model_of([make_node("Reshape", ["x", "s"], ["y"])], IMAGE, {"s": ints(*RESHAPES[case])}, layouts=layouts))


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 2, 1), (0, 2, 1, 3)])
def test_transpose(perm: tuple[int, ...], model_of: Build, holds: Holds) -> None:
    nodes = [make_node("Transpose", ["x"], ["t"], perm=perm), make_node("Abs", ["t"], ["y"])]
    holds(model_of(nodes, IMAGE, layouts={"x": Layout.NCHW}))


@pytest.mark.parametrize("axes", [(1,), (-1,), (1, 3)])
def test_unsqueeze(axes: tuple[int, ...], model_of: Build, holds: Holds) -> None:
    node = make_node("Unsqueeze", ["x", "a"], ["y"])
    holds(model_of([node], {"x": ("batch", 6)}, {"a": ints(*axes)}))


def test_unsqueeze_then_broadcast(model_of: Build, holds: Holds) -> None:
    nodes = [make_node("Unsqueeze", ["z", "a"], ["u"]), make_node("Mul", ["x", "u"], ["y"])]
    model = model_of(nodes, {**IMAGE, "z": ("batch", 4)}, {"a": ints(2, 3)}, layouts=NCHW)
    assert "TRANSPOSE" not in holds(model)


@pytest.mark.parametrize("axes", [(1,), (1, 3), None])
def test_squeeze(axes: tuple[int, ...] | None, model_of: Build, holds: Holds) -> None:
    constants = {} if axes is None else {"a": ints(*axes)}
    holds(model_of([make_node("Squeeze", ["x", *constants], ["y"])], {"x": (2, 1, 6, 1)}, constants))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat(axis: int, model_of: Build, holds: Holds) -> None:
    inputs = {**IMAGE, "z": IMAGE["x"]}
    layouts = {**NCHW, "z": Layout.NCHW}
    ops = holds(model_of([make_node("Concat", ["x", "z"], ["y"], axis=axis)], inputs, layouts=layouts))
    assert ops == ["CONCATENATION"]


def test_concat_with_a_constant(model_of: Build, holds: Holds) -> None:
    holds(model_of([make_node("Concat", ["x", "c"], ["y"], axis=1)], {"x": (2, 3)}, {"c": floats(2, 2)}))


PADS: Cases = {
    "constant": ({}, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "value": ({}, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0), "v": np.float32(1.5)}),
    "axes": ({}, {"p": ints(1, 2), "": None, "a": ints(-2)}),
    "reflect": ({"mode": "reflect"}, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "edge": ({"mode": "edge"}, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "wrap": ({"mode": "wrap"}, {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "negative": ({}, {"p": ints(0, 0, -1, 2, 0, 0, 3, -2)}),
}


@pytest.mark.parametrize("case", PADS)
def test_pad(case: str, model_of: Build, holds: Holds) -> None:
    attributes, inputs = PADS[case]
    constants = {name: value for name, value in inputs.items() if name}
    assert "TRANSPOSE" not in holds(
        model_of([make_node("Pad", ["x", *inputs], ["y"], **attributes)], IMAGE, constants, layouts=NCHW)
    )


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"])
@pytest.mark.parametrize("axes", [(2, 3), (1,), (-1,)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce(op: str, axes: tuple[int, ...], keepdims: int, model_of: Build, holds: Holds) -> None:
    node = make_node(op, ["x", "a"], ["y"], keepdims=keepdims)
    holds(model_of([node], {"x": ("batch", 3, 4, 3)}, {"a": ints(*axes)}, layouts={"x": Layout.NCHW}))
