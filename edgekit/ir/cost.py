"""What a Model costs, from its graph alone: parameters and MACs by layer, and the peak of its activations' memory.

All figures are for a batch of 1. A MAC is one multiplication with its addition; only layers that multiply by weights or
by each other (convolutions, matrix products, recurrent cells) have any, as the field counts them: bias, activations,
pooling and element-wise arithmetic count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgekit.ir.model import Model

__all__ = ["LayerCost", "ModelCost", "model_cost"]

Shape = tuple[int, ...]

# These give their input's bytes under another shape: no runtime copies them.
_VIEWS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class LayerCost:
    """One node of the graph.

    Attributes:
        name: the layer.
        op: its operator.
        inputs: shapes of the activations that it reads (constants left out); () within for an unknown one.
        outputs: shapes of what it makes.
        params: float constants that it is the first to read; single figures, like the bounds of a Clip, don't count.
        macs: multiply-accumulates.
        live_bytes: activations that are in memory while it runs, its own inputs and outputs included.
    """

    name: str
    op: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    params: int
    macs: int
    live_bytes: int


@dataclass(frozen=True)
class ModelCost:
    """The layers in graph order, and what they sum up to.

    Attributes:
        layers: every node.
        params: parameters, shared ones counted once.
        weight_bytes: bytes of all constants as they are stored in the Model.
        macs: multiply-accumulates of one inference.
        peak_bytes: the largest `live_bytes`: activations only, each freed after its last reader, nothing in place.
        peak_layer: the layer where that is; "" for a graph without nodes.
    """

    layers: tuple[LayerCost, ...]
    params: int
    weight_bytes: int
    macs: int
    peak_bytes: int
    peak_layer: str


def model_cost(model: Model) -> ModelCost:
    """The cost of `model`; runs nothing, and leaves it as it is."""
    if any(value.shape is None for node in model.graph for value in node.outputs):
        model = model.clone()
        ShapeInferencePass(strict_mode=False)(model.proto)
    layers = tuple(_layers(model.graph))
    peak = max(layers, key=lambda layer: layer.live_bytes, default=None)
    return ModelCost(
        layers=layers,
        params=sum(layer.params for layer in layers),
        weight_bytes=sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value),
        macs=sum(layer.macs for layer in layers),
        peak_bytes=peak.live_bytes if peak else 0,
        peak_layer=peak.name if peak else "",
    )


def _layers(graph: ir.Graph) -> Iterator[LayerCost]:
    counted: set[ir.Value] = set()
    for node, live in zip(graph, _live_bytes(graph), strict=True):
        params = 0
        for value in node.inputs:
            if value is not None and _is_parameter(value) and value not in counted:
                counted.add(value)
                params += math.prod(_shape(value))
        yield LayerCost(
            name=node.name or "",
            op=node.op_type,
            inputs=tuple(_shape(value) for value in node.inputs if value is not None and not _is_constant(value)),
            outputs=tuple(_shape(value) for value in node.outputs),
            params=params,
            macs=_macs(node),
            live_bytes=live,
        )


def _is_constant(value: ir.Value) -> bool:
    return value.is_initializer() or ((node := value.producer()) is not None and node.op_type == "Constant")


def _is_parameter(value: ir.Value) -> bool:
    return value.is_initializer() and value.dtype is not None and value.dtype.is_floating_point() and bool(value.shape)


def _shape(value: ir.Value) -> Shape:
    """The shape for one sample: a symbolic size is the batch."""
    return tuple(size if isinstance(size, int) else 1 for size in value.shape or ())


def _bytes(value: ir.Value) -> int:
    return math.ceil(math.prod(_shape(value)) * (value.dtype.itemsize if value.dtype else 4))


def _macs(node: ir.Node) -> int:
    count = _COUNTS.get(node.op_type)
    return count(node) if count and not node.domain else 0


def _input_shape(node: ir.Node, index: int) -> Shape:
    value = node.inputs[index]
    return _shape(value) if value is not None else ()


def _conv(node: ir.Node) -> int:
    """Each output element sums over a window of the input channels of its group: weights are (out, in/group, …)."""
    return math.prod(_shape(node.outputs[0])) * math.prod(_input_shape(node, 1)[1:])


def _conv_transpose(node: ir.Node) -> int:
    """Each input element spreads over a window of its group's output channels: weights are (in, out/group, …)."""
    return math.prod(_input_shape(node, 0)) * math.prod(_input_shape(node, 1)[1:])


def _gemm(node: ir.Node) -> int:
    inner = _input_shape(node, 0)[0 if node.attributes.get_int("transA", 0) else 1]
    return math.prod(_shape(node.outputs[0])) * inner


def _matmul(node: ir.Node) -> int:
    return math.prod(_shape(node.outputs[0])) * _input_shape(node, 0)[-1]


def _recurrent(node: ir.Node) -> int:
    """Input weights are (directions, gates·hidden, input), recurrent ones (directions, gates·hidden, hidden)."""
    steps = math.prod(_input_shape(node, 0)[:2])
    return steps * (math.prod(_input_shape(node, 1)) + math.prod(_input_shape(node, 2)))


_COUNTS: dict[str, Callable[[ir.Node], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "RNN": _recurrent,
}


def _live_bytes(graph: ir.Graph) -> list[int]:
    """For each node in order: bytes of all activations that are made by then and still to be read, its own included."""
    nodes = list(graph)
    owner: dict[ir.Value, ir.Value] = {value: value for value in graph.inputs}
    last: dict[ir.Value, int] = dict.fromkeys(graph.inputs, 0)
    born: dict[ir.Value, int] = dict.fromkeys(graph.inputs, 0)
    for at, node in enumerate(nodes):
        for value in node.inputs:
            if value in owner:
                last[owner[value]] = at
        source = node.inputs[0] if node.op_type in _VIEWS and node.inputs else None
        for value in node.outputs if node.op_type != "Constant" else ():
            owner[value] = owner.get(source, value) if source is not None else value
            last.setdefault(owner[value], at)
            born.setdefault(owner[value], at)
    last |= {owner[value]: len(nodes) for value in graph.outputs if value in owner}
    changes = [0] * (len(nodes) + 2)
    for value, first in born.items():
        changes[first] += _bytes(value)
        changes[last[value] + 1] -= _bytes(value)
    live, figures = 0, []
    for at in range(len(nodes)):
        live += changes[at]
        figures.append(live)
    return figures
