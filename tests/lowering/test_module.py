"""The lowered network as a whole: no needless transpose or padding, fused activations, names, variables, refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from edgekit.core.errors import UnsupportedOpError
from edgekit.core.types import Layout
from edgekit.ir import Model
from edgekit.lowering import lower, lowers, scope_names, unsupported

Build = Callable[..., Model]
Holds = Callable[..., list[str]]

IMAGE = {"x": ("batch", 3, 8, 8)}
NCHW = {"x": Layout.NCHW}
SAME = {"pads": [1, 1, 1, 1]}


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def conv(source: str, result: str, weight: str = "w", **attributes: Any) -> onnx.NodeProto:
    return make_node("Conv", [source, weight], [result], **{**SAME, **attributes})


def test_flatten_into_a_dense_layer_permutes_the_weights(model_of: Build, holds: Holds) -> None:
    nodes = [
        conv("x", "c"),
        make_node("Flatten", ["c"], ["f"]),
        make_node("Relu", ["f"], ["r"]),
        make_node("Gemm", ["r", "g"], ["y"], transB=1),
    ]
    ops = holds(model_of(nodes, IMAGE, {"w": floats(4, 3, 3, 3), "g": floats(5, 256)}, layouts=NCHW))
    assert "TRANSPOSE" not in ops


def test_flatten_into_matmul_permutes_the_weights(model_of: Build, holds: Holds) -> None:
    nodes = [conv("x", "c"), make_node("Reshape", ["c", "s"], ["f"]), make_node("MatMul", ["f", "g"], ["y"])]
    weights = {"w": floats(4, 3, 3, 3), "s": ints(-1, 256), "g": floats(256, 5)}
    assert "TRANSPOSE" not in holds(model_of(nodes, IMAGE, weights, layouts=NCHW))


def test_flatten_that_is_seen_has_the_logical_order(model_of: Build, holds: Holds) -> None:
    nodes = [conv("x", "c"), make_node("Flatten", ["c"], ["f"]), make_node("Softmax", ["f"], ["y"])]
    holds(model_of(nodes, IMAGE, {"w": floats(4, 3, 3, 3)}, layouts=NCHW))


def test_transposes_around_keras_layers_vanish(model_of: Build, holds: Holds) -> None:
    nodes = [
        make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        conv("t", "c"),
        make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
    ]
    model = model_of(nodes, {"x": ("batch", 8, 8, 3)}, {"w": floats(4, 3, 3, 3)}, layouts={"x": Layout.NHWC})
    assert holds(model) == ["CONV_2D"]


def test_a_block_with_residual_squeeze_and_excite_and_concat_is_not_transposed(model_of: Build, holds: Holds) -> None:
    nodes = [
        conv("x", "a"),
        make_node("GlobalAveragePool", ["a"], ["p"]),
        conv("p", "e", "v", pads=[0] * 4),
        make_node("HardSigmoid", ["e"], ["h"], alpha=1 / 6),
        make_node("Mul", ["a", "h"], ["m"]),
        make_node("Add", ["m", "a"], ["s"]),
        make_node("Mul", ["s", "k"], ["o"]),
        make_node("Concat", ["o", "a"], ["b"], axis=1),
        make_node("ReduceMean", ["b", "axes"], ["y"], keepdims=0),
    ]
    weights = {"w": floats(4, 3, 3, 3), "v": floats(4, 4, 1, 1), "k": floats(1, 4, 1, 1), "axes": ints(2, 3)}
    assert "TRANSPOSE" not in holds(model_of(nodes, IMAGE, weights, layouts=NCHW))


def test_a_network_of_many_kinds_of_layers_is_not_transposed(model_of: Build, holds: Holds) -> None:
    nodes = [
        conv("x", "a"),
        make_node("InstanceNormalization", ["a", "scale", "bias"], ["norm"]),
        make_node("PRelu", ["norm", "slope"], ["prelu"]),
        make_node("Split", ["prelu"], ["left", "right"], axis=1, num_outputs=2),
        make_node("Slice", ["prelu", "one", "three", "one"], ["middle"]),
        make_node("Concat", ["left", "middle", "right"], ["wide"], axis=1),
        make_node("Pad", ["wide", "pads"], ["padded"], mode="edge"),
        make_node("ReduceMean", ["wide", "space"], ["mean"]),
        make_node("Sigmoid", ["mean"], ["gate"]),
        make_node("Mul", ["wide", "gate"], ["gated"]),
        make_node("ConvTranspose", ["gated", "up"], ["doubled"], strides=[2, 2]),
        make_node("Resize", ["padded", "", "", "sizes"], ["resized"], mode="linear", axes=[2, 3]),
        make_node("Conv", ["resized", "narrow"], ["six"]),
        make_node("DepthToSpace", ["doubled"], ["deep"], blocksize=2, mode="CRD"),
        make_node("SpaceToDepth", ["deep"], ["back"], blocksize=2),
        make_node("Add", ["back", "six"], ["sum"]),
        make_node("Greater", ["sum", "zero"], ["positive"]),
        make_node("Where", ["positive", "sum", "six"], ["y"]),
    ]
    weights = {
        "w": floats(4, 3, 3, 3), "scale": floats(4), "bias": floats(4), "slope": floats(4, 1, 1), "one": ints(1),
        "three": ints(3), "pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "space": ints(2, 3), "up": floats(6, 8, 2, 2),
        "sizes": ints(16, 16), "narrow": floats(8, 6, 1, 1), "zero": np.float32(0),
    }  # fmt: skip
    ops = holds(model_of(nodes, IMAGE, weights, layouts={**NCHW, "y": Layout.NCHW}))
    assert "TRANSPOSE" not in ops


def test_detection_heads_are_not_transposed(model_of: Build, holds: Holds) -> None:
    nodes = [
        conv("x", "c"),
        make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        make_node("Reshape", ["t", "s"], ["y"]),
    ]
    model = model_of(nodes, IMAGE, {"w": floats(4, 3, 3, 3), "s": ints(-1, 128, 2)}, layouts=NCHW)
    assert holds(model) == ["CONV_2D", "RESHAPE"]


@pytest.mark.parametrize(
    ("attributes", "ops"),
    [
        (SAME, ["CONV_2D"]),
        ({**SAME, "strides": [2, 2]}, ["PAD", "CONV_2D"]),
        ({"pads": [0, 0, 1, 1], "strides": [2, 2]}, ["CONV_2D"]),
        ({"pads": [0] * 4}, ["CONV_2D"]),
    ],
    ids=["same", "symmetric at stride 2", "same at stride 2", "valid"],
)
def test_padding_is_an_op_only_where_it_must_be(
    attributes: dict[str, Any], ops: list[str], model_of: Build, holds: Holds
) -> None:
    assert holds(model_of([conv("x", "y", **attributes)], IMAGE, {"w": floats(4, 3, 3, 3)}, layouts=NCHW)) == [
        *ops,
        "TRANSPOSE",  # the output, which this model does not declare an image
    ]


@pytest.mark.parametrize("op", ["Relu", "Clip"])
def test_batch_norm_and_activation_are_fused(op: str, model_of: Build, holds: Holds) -> None:
    bounds = {"low": np.float32(0), "high": np.float32(6)} if op == "Clip" else {}
    vectors = {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + np.float32(0.1)}
    nodes = [
        conv("x", "c"),
        make_node("BatchNormalization", ["c", *vectors], ["n"]),
        make_node(op, ["n", *bounds], ["y"]),
    ]
    weights = {"w": floats(4, 3, 3, 3), **vectors, **bounds}
    assert holds(model_of(nodes, IMAGE, weights, layouts={**NCHW, "y": Layout.NCHW})) == ["CONV_2D"]


def test_hard_swish_is_one_op(model_of: Build, holds: Holds) -> None:
    assert holds(model_of([make_node("HardSwish", ["x"], ["y"])], {"x": ("batch", 5)})) == ["HARD_SWISH"]


def test_several_inputs_and_outputs_keep_their_order(model_of: Build, holds: Holds) -> None:
    nodes = [make_node("Sub", ["b", "a"], ["z"]), make_node("Neg", ["a"], ["y"])]
    nodes.append(make_node("Identity", ["b"], ["i"]))
    model = model_of(nodes, {"b": ("batch", 3), "a": ("batch", 3)}, outputs=("z", "i", "y"))
    holds(model)
    assert [spec.name for spec in lower(model).outputs] == ["z", "i", "y"]


def test_one_weight_of_two_layers_is_one_variable(model_of: Build, holds: Holds) -> None:
    nodes = [make_node("MatMul", ["x", "w"], ["a"]), make_node("Gemm", ["a", "w"], ["y"], transB=1)]
    model = model_of(nodes, {"x": ("batch", 3)}, {"w": floats(3, 3)})
    assert list(lower(model).weights) == ["w"]
    holds(model)


def test_weights_are_variables_that_train(model_of: Build) -> None:
    import tensorflow as tf

    vectors = {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4))}
    nodes = [
        conv("x", "c", "conv/kernel:0"),
        make_node("BatchNormalization", ["c", *vectors], ["n"]),
        make_node("Mul", ["n", "two"], ["d"]),
        make_node("Flatten", ["d"], ["f"]),
        make_node("Gemm", ["f", "g"], ["y"]),
    ]
    weights = {"conv/kernel:0": floats(4, 3, 3, 3), **vectors, "two": np.float32(2), "g": floats(256, 5)}
    module = lower(model_of(nodes, IMAGE, weights, layouts=NCHW))
    assert {name: tuple(variable.shape) for name, variable in module.weights.items()} == {
        name: value.shape for name, value in weights.items() if name != "two"
    }
    assert {id(variable) for variable in module.trainable_variables} == {
        id(module.weights[name]) for name in ("conv/kernel:0", "s", "b", "g")
    }
    step = tf.function(module, input_signature=[tf.TensorSpec((None, 8, 8, 3))])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(step(tf.ones((5, 8, 8, 3)))[0] ** 2)
    gradients = tape.gradient(loss, module.trainable_variables)
    assert all(np.abs(gradient.numpy()).max() > 0 for gradient in gradients)


def test_scopes_are_legal_and_unique(model_of: Build) -> None:
    names = ["/features/0/Conv", "features/0/Conv", "Features/0/conv", "a b:c", "_x", "sequential/dense//kernel"]
    chain = ["x", *(f"t{index}" for index in range(len(names) - 1)), "y"]
    nodes = [make_node("Abs", [chain[i]], [chain[i + 1]], name) for i, name in enumerate(names)]
    assert list(scope_names(model_of(nodes, {"x": ("batch", 3)})).values()) == [
        "features/0/Conv",
        "features/0/Conv_1",
        "Features/0/conv_2",
        "a_b_c",
        "layer_x",
        "sequential/dense/kernel",
    ]


KERNEL_3D = floats(2, 2, 1, 1, 1)
REFUSED: dict[str, tuple[onnx.NodeProto, dict[str, Any], dict[str, Any]]] = {
    "no lowering": (make_node("Det", ["x"], ["y"], "odd"), {"x": (2, 3, 3)}, {}),
    "3-D convolution": (make_node("Conv", ["x", "w"], ["y"], "odd"), {"x": (1, 2, 4, 4, 4)}, {"w": KERNEL_3D}),
    "computed kernel": (make_node("Conv", ["x", "w"], ["y"], "odd"), {"x": (1, 2, 4, 4), "w": (2, 2, 1, 1)}, {}),
    "dilated pool": (
        make_node("MaxPool", ["x"], ["y"], "odd", kernel_shape=[2, 2], dilations=[2, 2]),
        {"x": (1, 2, 6, 6)},
        {},
    ),
    "pool with indices": (
        make_node("MaxPool", ["x"], ["y", "i"], "odd", kernel_shape=[2, 2]),
        {"x": (1, 2, 6, 6)},
        {},
    ),
    "computed bound": (make_node("Clip", ["x", "", "w"], ["y"], "odd"), {"x": (2, 3), "w": ()}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_lowering_is_refused_with_layer_op_and_remedy(case: str, model_of: Build) -> None:
    node, inputs, weights = REFUSED[case]
    model = model_of([node], inputs, weights)
    (found,) = unsupported(model)
    assert (found.layer, found.op) == ("odd", node.op_type)
    with pytest.raises(UnsupportedOpError, match=rf"{node.op_type} \(layer 'odd'\)") as caught:
        lower(model)
    assert caught.value.remedy == found.remedy


def test_asking_needs_no_tensorflow() -> None:
    program = (
        "import sys, onnx_ir as ir; from edgekit.ir import Model; from edgekit.lowering import unsupported;"
        "graph = ir.Graph([], [], nodes=[ir.Node('', 'Det', [], name='l'), ir.Node('', 'Relu', [None], name='r')]);"
        "print([found.op for found in unsupported(Model(ir.Model(graph, ir_version=10)))], 'tensorflow' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "['Det'] False"


def test_lowering_needs_no_keras_and_leaves_it_to_whoever_does() -> None:
    program = (
        "import sys; from edgekit.lowering import lazy_tf as tf; tf.constant(1);"
        "print('keras' in sys.modules, tf.keras.optimizers.SGD.__name__);"
        "from tensorflow.keras import layers; print(layers.Dense.__name__)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["False", "SGD", "Dense"]


def test_an_op_type_has_one_lowering(model_of: Build) -> None:
    assert not unsupported(model_of([make_node("Relu", ["x"], ["y"])], IMAGE))  # the table is there now
    with pytest.raises(ValueError, match="Relu has a lowering already"):
        lowers("Relu")(lambda _node, x: x)
