"""A layer as two thin ones: which layers can be, what that costs, and the graph's change.

A convolution sums over the height and the width of its window at once. Cut in two, the first half sums over the height
and makes `rank` channels, and the second sums over these along the width: the separable filters of Jaderberg et al.
(Speeding up Convolutional Neural Networks with Low Rank Expansions, BMVC 2014, arXiv:1405.3866). As a matrix, (inputs ·
height, width · outputs), the weights of the two are a product of that rank. Of a dense layer, and of a window of one
place, that is the factorization of its matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.passes.fuse.rewiring import constant, new_constant, unique_node_name
from edgekit.passes.matrices import MAX_WIDTH, drawn, has_rows, window_rows
from edgekit.passes.prune.layers import name_of

__all__ = ["Array", "Half", "Matrix", "Splittable", "splittable"]

Array = np.ndarray[Any, Any]
Matrix = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Half:
    """One of the two layers that a layer becomes.

    Attributes:
        attributes: of its node.
        kernel: its window; () of a dense layer.
        axes: the spatial axes that it goes along.
    """

    attributes: Mapping[str, Any]
    kernel: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()

    def rows(self, data: Array, most: int, seed: int) -> Array:
        """What it multiplies with its weights, (places, channels · window), at `most` places of `data` at random."""
        if not self.kernel:
            return drawn(data.reshape(-1, data.shape[-1]), most, seed)
        attributes = ir.node("Conv", [], self.attributes).attributes
        return window_rows(data, self.kernel, attributes, most, seed)

    def weights(self, matrix: Matrix) -> Array:
        """(channels · window, outputs) as its operator wants it."""
        if not self.kernel:
            return np.ascontiguousarray(matrix, np.float32)
        return np.ascontiguousarray(matrix.T, np.float32).reshape(matrix.shape[1], -1, *self.kernel)


@dataclass(frozen=True)
class Splittable:
    """A layer that can become two.

    Attributes:
        node: a Conv of one group and at most two spatial axes, a Gemm, or a MatMul with constant weights.
        matrix: the weights, (inputs · height, width · outputs).
        first, second: the halves.
        macs: multiply-accumulates of the layer.
        macs_per_rank: of both halves, a channel between them.
    """

    node: ir.Node
    matrix: Matrix
    first: Half
    second: Half
    macs: int
    macs_per_rank: int

    @property
    def name(self) -> str:
        """The layer's."""
        return name_of(self.node)

    @property
    def data(self) -> ir.Value:
        """What it reads."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def axis(self) -> int:
        """Of the output's channels."""
        return 1 if self.first.kernel else -1

    @property
    def outputs(self) -> int:
        """Channels of the output."""
        return int(self.matrix.shape[1]) // math.prod(self.second.kernel)

    @property
    def full(self) -> int:
        """The rank that its weights can have."""
        return int(min(self.matrix.shape))

    @property
    def most(self) -> int:
        """The largest rank that costs less than the layer; 0 where there is none."""
        return min((self.macs - 1) // self.macs_per_rank, self.full - 1)

    def turned(self, second: Matrix) -> Matrix:
        """(rank, width · outputs) as the second half sums, (rank · width, outputs)."""
        width = math.prod(self.second.kernel)
        return second.reshape(len(second) * width, -1)

    def split(self, graph: ir.Graph, first: Matrix, second: Matrix) -> None:
        """Put two layers into `graph` for the one: the node becomes the second, and keeps its name, output and bias.

        Args:
            graph: a graph with a node of that name.
            first: (inputs · height, rank).
            second: (rank, width · outputs).
        """
        node = next(each for each in graph if name_of(each) == self.name)
        data, weights = node.inputs[0], node.inputs[1]
        assert data is not None
        assert weights is not None
        assert data.shape is not None
        assert node.outputs[0].shape is not None
        name = unique_node_name(graph, f"{self.name}/reduce")
        reduce = new_constant(graph, f"{name}/weights", self.first.weights(first))
        half = ir.node(node.op_type, [data, reduce], self.first.attributes, name=name)
        between = half.outputs[0]
        between.name, between.type = f"{name}/output", data.type
        between.shape = ir.Shape(_between(self.first, data.shape, node.outputs[0].shape, first.shape[1]))
        graph.insert_before(node, half)
        node.replace_input_with(0, between)
        expand = self.second.weights(self.turned(second))
        node.replace_input_with(1, new_constant(graph, f"{self.name}/expand/weights", expand))
        node.attributes.clear()
        for attribute in ir.convenience.convert_attributes(self.second.attributes):
            node.attributes.add(attribute)
        if not weights.uses():
            graph.initializers.pop(str(weights.name))

    def join(self, graph: ir.Graph, first: Matrix, second: Matrix) -> None:
        """Give the whole layer in `graph` the weights with which it answers as the two halves do."""
        product, shape = first @ second, self.matrix.shape
        if self.first.kernel:
            height, width = math.prod(self.first.kernel), math.prod(self.second.kernel)
            window = product.reshape(shape[0] // height, height, width, -1).transpose(3, 0, 1, 2)
            content = window.reshape(
                window.shape[0], window.shape[1], *map(int.__mul__, self.first.kernel, self.second.kernel)
            )
        else:
            content = product.T if has_rows(self.node) else product
        weights = self.node.inputs[1]
        assert weights is not None
        value = graph.initializers[str(weights.name)]
        value.const_value = ir.tensor(np.ascontiguousarray(content, np.float32), name=value.name)


def splittable(model: Model) -> tuple[Splittable, ...]:
    """The layers that can become two which cost less, in the order of the graph."""
    macs = {layer.name: layer.macs for layer in model_cost(model).layers}
    found = (_of(node, macs.get(str(node.name), 0)) for node in model.graph)
    return tuple(each for each in found if each is not None and each.most > 0)


def _of(node: ir.Node, macs: int) -> Splittable | None:
    weights = node.inputs[1] if len(node.inputs) > 1 else None
    content = constant(weights)
    if node.domain or weights is None or content is None or content.dtype != np.float32 or len(weights.uses()) != 1:
        return None
    if node.op_type in {"Gemm", "MatMul"}:
        found = _dense(node, content, macs)
    elif node.op_type == "Conv":
        found = _convolution(node, content, macs)
    else:
        return None
    return found if found is not None and max(found.matrix.shape) <= MAX_WIDTH else None


def _dense(node: ir.Node, content: Array, macs: int) -> Splittable | None:
    attributes = node.attributes
    scaled = attributes.get_float("alpha", 1.0) != 1 or attributes.get_float("beta", 1.0) != 1
    if content.ndim != 2 or attributes.get_int("transA", 0) != 0 or scaled:
        return None
    matrix = np.asarray(content.T if has_rows(node) else content, np.float64)
    places = macs // content.size
    return Splittable(node, matrix, Half({}), Half({}), macs, places * sum(content.shape))


def _convolution(node: ir.Node, content: Array, macs: int) -> Splittable | None:
    spatial, kernel = content.ndim - 2, content.shape[2:]
    if node.attributes.get_int("group", 1) != 1 or spatial not in {1, 2}:
        return None
    # A window of one place has nothing to sum over: the first half does the striding along it.
    alone = [axis for axis in range(spatial) if axis == 0 or kernel[axis] == 1]
    others = [axis for axis in range(spatial) if axis not in alone]
    first, second = _half(node, kernel, alone), _half(node, kernel, others)
    height, width = math.prod(first.kernel), math.prod(second.kernel)
    outputs, inputs = content.shape[:2]
    matrix = content.reshape(outputs, inputs, height, width).transpose(1, 2, 3, 0).reshape(inputs * height, -1)
    data, made = (value.shape for value in (node.inputs[0], node.outputs[0]) if value is not None)
    if data is None or made is None:
        return None
    between, after = _between(first, data, made, 1), list(made)
    places = [math.prod(size for size in shape[2:] if isinstance(size, int)) for shape in (between, after)]
    macs_per_rank = inputs * height * places[0] + outputs * width * places[1]
    return Splittable(node, matrix.astype(np.float64), first, second, macs, macs_per_rank)


def _half(node: ir.Node, kernel: Sequence[int], axes: Sequence[int]) -> Half:
    """The part of a convolution along some of its spatial axes."""
    rank, attributes = len(kernel), node.attributes
    own = [axis in axes for axis in range(rank)]
    window = tuple(size if mine else 1 for size, mine in zip(kernel, own, strict=True))
    strides, dilations = (
        [size if mine else 1 for size, mine in zip(attributes.get_ints(name, [1] * rank), own, strict=True)]
        for name in ("strides", "dilations")
    )
    found: dict[str, Any] = {"kernel_shape": window, "strides": strides, "dilations": dilations}
    padding = attributes.get_string("auto_pad", "NOTSET")
    if padding == "NOTSET":
        pads = attributes.get_ints("pads", [0] * 2 * rank)
        found["pads"] = [size if mine else 0 for size, mine in zip(pads, own * 2, strict=True)]
    else:
        found["auto_pad"] = padding
    return Half(found, window, tuple(axes))


def _between(first: Half, data: ir.Shape, made: ir.Shape, rank: int) -> list[Any]:
    """The shape of what is between the halves: along the first's own axes as it comes out, else as it goes in."""
    if not first.kernel:
        return [*data[:-1], rank]
    return [data[0], rank, *((made if axis in first.axes else data)[axis + 2] for axis in range(len(first.kernel)))]
