"""Random networks for the tests of pruning: a chain of blocks of all kinds, drawn by hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model

SIZE = 8  # height and width that every block keeps, or comes back to


class Network:
    """An ONNX graph under construction: `x` is the name of what comes last, (batch, channels, SIZE, SIZE)."""

    def __init__(self, seed: int, channels: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.x, self.channels, self._taken = "input", channels, channels

    def weights(self, *shape: int) -> str:
        name = f"w{len(self.constants)}"
        spread = 1 / math.sqrt(max(math.prod(shape[1:]), 1))
        values = self.random.normal(0, spread, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def ones(self, count: int) -> str:
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ones(count, np.float32), name))
        return name

    def integers(self, values: Sequence[int]) -> str:
        name = f"i{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op.lower()}{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, taken: int, made: int, *, groups: int = 1, kernel: int = 3) -> str:
        weights = self.weights(made, taken // groups, kernel, kernel)
        pads = [kernel // 2] * 4
        return str(self.add("Conv", [x, weights, self.weights(made)], group=groups, pads=pads))

    def model(self) -> Model:
        pooled = self.add("GlobalAveragePool", [self.x])
        flat = self.add("Flatten", [pooled])
        out = self.add("Gemm", [flat, self.weights(5, self.channels), self.weights(5)], transB=1)
        shape: list[str | int | None] = [BATCH, self._taken, SIZE, SIZE]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, [BATCH, 5])],
            self.constants,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)))


def _plain(net: Network) -> None:
    made = int(net.random.choice([4, 6, 8]))
    net.x = net.add("Relu", [net.conv(net.x, net.channels, made)])
    net.channels = made


def _depthwise(net: Network) -> None:
    multiplier = int(net.random.choice([1, 2]))
    net.x = net.conv(net.x, net.channels, net.channels * multiplier, groups=net.channels)
    net.channels *= multiplier


def _grouped(net: Network) -> None:
    if net.channels % 2 == 0:
        net.x = net.conv(net.x, net.channels, 8, groups=2)
        net.channels = 8


def _batch_norm(net: Network) -> None:
    figures = [net.weights(net.channels) for _ in range(3)]
    variance = net.add("Abs", [net.weights(net.channels)])
    shifted = net.add("Add", [variance, net.weights(1)])
    net.x = net.add("BatchNormalization", [net.x, *figures, net.add("Exp", [shifted])])


def _residual(net: Network) -> None:
    inner = net.add("HardSwish", [net.conv(net.x, net.channels, 6)])
    net.x = net.add("Add", [net.conv(inner, 6, net.channels), net.x])


def _squeeze_excite(net: Network) -> None:
    pooled = net.add("ReduceMean", [net.x, net.integers([2, 3])], keepdims=1)
    narrow = net.add("Relu", [net.conv(pooled, net.channels, 4, kernel=1)])
    gate = net.add("Sigmoid", [net.conv(narrow, 4, net.channels, kernel=1)])
    net.x = net.add("Mul", [net.x, gate])


def _concat(net: Network) -> None:
    left, right = net.conv(net.x, net.channels, 4), net.conv(net.x, net.channels, 3)
    net.x, net.channels = net.add("Concat", [left, net.x, right], axis=1), net.channels + 7


def _split(net: Network) -> None:
    if net.channels < 4:
        return
    first = net.channels // 2
    sizes = net.integers([first, net.channels - first])
    left, right = net.add("Split", [net.x, sizes], outputs=2, axis=1)
    net.x = net.add("Concat", [right, net.conv(left, first, 4)], axis=1)
    net.channels = net.channels - first + 4


def _slice(net: Network) -> None:
    if net.channels < 4:
        return
    net.x = net.add("Slice", [net.x, net.integers([1]), net.integers([net.channels - 1]), net.integers([1])])
    net.channels -= 2


def _gather(net: Network) -> None:
    order = net.random.permutation(net.channels)
    net.x = net.add("Gather", [net.x, net.integers(order.tolist())], axis=1)


def _pool_and_resize(net: Network) -> None:
    pooled = net.add("MaxPool", [net.x], kernel_shape=[2, 2], strides=[2, 2])
    scales = numpy_helper.from_array(np.array([2, 2], np.float32), f"s{len(net.constants)}")
    net.constants.append(scales)
    net.x = net.add("Resize", [pooled, "", scales.name], mode="nearest", axes=[2, 3])


def _pad_and_shrink(net: Network) -> None:
    padded = net.add("Pad", [net.x, net.integers([0, 0, 1, 1, 0, 0, 1, 1])])
    weights = net.weights(net.channels, 5, 3, 3)
    net.x = net.add("ConvTranspose", [padded, weights, net.weights(5)], pads=[2, 2, 2, 2])
    net.channels = 5


def _shuffle(net: Network) -> None:
    """A strided convolution, and back by a pixel shuffle."""
    weights = net.weights(12, net.channels, 2, 2)
    small = net.add("Conv", [net.x, weights], strides=[2, 2])
    net.x, net.channels = net.add("DepthToSpace", [small], blocksize=2, mode="CRD"), 3


def _channels_last(net: Network) -> None:
    last = net.add("Transpose", [net.x], perm=[0, 2, 3, 1])
    made = net.add("MatMul", [last, net.weights(net.channels, 6)])
    shifted = net.add("Gelu", [net.add("Add", [made, net.weights(6)])])
    net.x, net.channels = net.add("Transpose", [shifted], perm=[0, 3, 1, 2]), 6


def _rows(net: Network) -> None:
    """A dense layer on the places of all images in one long axis, as TensorFlow's exporters write it."""
    last = net.add("Transpose", [net.x], perm=[0, 2, 3, 1])
    rows = net.add("Reshape", [last, net.integers([-1, net.channels])])
    made = net.add("Relu", [net.add("Gemm", [rows, net.weights(net.channels, 6), net.weights(6)])])
    image = net.add("Reshape", [made, net.integers([-1, SIZE, SIZE, 6])])
    net.x, net.channels = net.add("Transpose", [image], perm=[0, 3, 1, 2]), 6


def _layer_norm(net: Network) -> None:
    last = net.add("Transpose", [net.x], perm=[0, 2, 3, 1])
    normed = net.add("LayerNormalization", [last, net.weights(net.channels), net.weights(net.channels)], axis=-1)
    net.x = net.add("Transpose", [normed], perm=[0, 3, 1, 2])


def _dense(net: Network) -> None:
    """Flattened into a dense layer, and back into an image."""
    flat = net.add("Flatten", [net.x])
    hidden = net.add("Relu", [net.add("MatMul", [flat, net.weights(net.channels * SIZE * SIZE, 6)])])
    wide = net.add("MatMul", [hidden, net.weights(6, 2 * SIZE * SIZE)])
    net.x, net.channels = net.add("Reshape", [wide, net.integers([-1, 2, SIZE, SIZE])]), 2


def _attention(net: Network) -> None:
    """Three heads of four over the places of the image."""
    heads, depth = 3, 4
    tokens = net.add("Reshape", [net.x, net.integers([-1, net.channels, SIZE * SIZE])])
    tokens = net.add("Transpose", [tokens], perm=[0, 2, 1])
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        made = net.add("MatMul", [tokens, net.weights(net.channels, heads * depth)])
        made = net.add("Add", [made, net.weights(heads * depth)])
        table = net.add("Reshape", [made, net.integers([-1, SIZE * SIZE, heads, depth])])
        parts.append(net.add("Transpose", [table], perm=perm))
    weights = net.add("Softmax", [net.add("MatMul", parts[:2])], axis=-1)
    mixed = net.add("Transpose", [net.add("MatMul", [weights, parts[2]])], perm=[0, 2, 1, 3])
    mixed = net.add("Reshape", [mixed, net.integers([-1, SIZE * SIZE, heads * depth])])
    out = net.add("Add", [net.add("MatMul", [mixed, net.weights(heads * depth, net.channels)]), tokens])
    back = net.add("Transpose", [out], perm=[0, 2, 1])
    net.x = net.add("Reshape", [back, net.integers([-1, net.channels, SIZE, SIZE])])


def _unknown(net: Network) -> None:
    """An operator without a channel rule."""
    net.x = net.add("LRN", [net.x], size=3)


BLOCKS: dict[str, Callable[[Network], None]] = {
    function.__name__.lstrip("_"): function
    for function in (
        _plain, _depthwise, _grouped, _batch_norm, _residual, _squeeze_excite, _concat, _split, _slice, _gather,
        _pool_and_resize, _pad_and_shrink, _shuffle, _channels_last, _rows, _layer_norm, _dense, _attention, _unknown,
    )
}  # fmt: skip


def build(blocks: Sequence[str], seed: int) -> Model:
    """The network of these blocks, with a convolution in front and a classifier behind."""
    net = Network(seed, channels=3)
    for block in ("plain", *blocks):
        BLOCKS[block](net)
    return net.model()


networks = st.builds(build, st.lists(st.sampled_from(sorted(BLOCKS)), max_size=7), st.integers(0, 2**16))


def chain(depth: int, *, width: int = 32) -> Model:
    """`depth` convolutions, each normalised and rectified, every second one with a residual connection."""
    net = Network(0, channels=3)
    net.x, net.channels = net.conv(net.x, 3, width), width
    for layer in range(depth - 1):
        made = net.conv(net.x, width, width)
        made = net.add("BatchNormalization", [made, *[net.weights(width) for _ in range(3)], net.ones(width)])
        made = net.add("Relu", [made])
        net.x = net.add("Add", [made, net.x]) if layer % 2 else made
    return net.model()
