"""Which weights a scale of a channel goes into, so that the network answers what it did.

Where every operator between the layers that make a channel and those that read it gives s·x for s·x (s > 0), the makers
times s and the readers divided by s are the same network (Nagel et al., ICCV 2019, arXiv:1906.04721). Here that holds
for residual blocks, too: all that meets in an addition has one scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.fuse.rewiring import constant
from edgekit.passes.prune.layers import layers
from edgekit.passes.prune.rules import shape_of

__all__ = ["ScaleClass", "WeightsAxis", "scale_classes", "scaled"]

# What gives s·x for s·x, and leaves the channels where they are.
_HOMOGENEOUS = frozenset(
    {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool", "PRelu", "Relu"}
)
_ARRANGING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class WeightsAxis:
    """An axis of a constant, along which its elements have the channels' scales.

    Attributes:
        constant: the initializer's name.
        axis: the axis.
        made: whether the scales multiply it; else it is divided by them.
    """

    constant: str
    axis: int
    made: bool


@dataclass
class ScaleClass:
    """Channels whose scales are free.

    Attributes:
        size: how many.
        values: activations that have these channels, and on which axis.
        weights: the weights that make and read them.
        shifts: biases, which the scales multiply.
    """

    size: int
    values: list[tuple[str, int]] = field(default_factory=list)
    weights: list[WeightsAxis] = field(default_factory=list)
    shifts: list[WeightsAxis] = field(default_factory=list)

    @property
    def axes(self) -> Iterator[WeightsAxis]:
        """Everything that the scales change."""
        yield from self.weights
        yield from self.shifts


def scale_classes(model: Model) -> list[ScaleClass]:
    """The channels of a fused Model whose scales are free, in the order of the layers."""
    return _Finder(model).found()


class _Finder:
    """A walk through the network, joining what has to have one scale."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._parent: dict[int, int] = {}
        self._classes: dict[int, ScaleClass] = {}
        self._fixed: set[int] = set()
        self._of: dict[ir.Value, tuple[int, int]] = {}  # class and axis

    def found(self) -> list[ScaleClass]:
        known = {node: (makes, reads) for node, makes, reads in layers(self._model.graph)}
        for node in self._model.graph:
            if node in known and self._layer(node, *known[node]):
                continue
            if not self._passed_on(node):
                for value in (*node.inputs, *node.outputs):
                    self._fix(value)
        for value in self._model.graph.outputs:
            self._fix(value)
        fixed = {self._root(each) for each in self._fixed}
        whole: dict[int, ScaleClass] = {}
        for number, each in self._classes.items():
            root = self._root(number)
            into = whole.setdefault(root, ScaleClass(each.size))
            into.values += each.values
            into.weights += each.weights
            into.shifts += each.shifts
        return [
            each
            for root, each in whole.items()
            if root not in fixed and {axis.made for axis in each.weights} == {True, False}
        ]

    def _layer(self, node: ir.Node, makes: Any, reads: Any) -> bool:
        """A layer with weights of its own: its inputs have one class, its outputs another one."""
        weights, source, result = makes.weights, node.inputs[0], node.outputs[0]
        assert source is not None
        groups, shape = node.attributes.get_int("group", 1), shape_of(weights)
        depthwise = reads is None and node.op_type == "Conv" and shape[0] == groups
        plain = groups == 1 and reads is not None
        if not self._alone(weights) or not (depthwise or plain) or _is_scaled(node):
            return False
        if not shape_of(source) or not shape_of(result):
            return False
        axis = 0 if depthwise else reads.axis
        at = 1 if depthwise else reads.data_axis % len(shape_of(source))
        if not self._has(source, at, shape[axis]):
            self._fix(source)
        else:
            self._class(source).weights.append(WeightsAxis(str(weights.name), axis, made=False))
        made = self._new(result, makes.data_axis % len(shape_of(result)), shape[makes.axis])
        made.weights.append(WeightsAxis(str(weights.name), makes.axis, made=True))
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None and not self._shifted(made, bias):
            self._fix(result)
        return True

    def _passed_on(self, node: ir.Node) -> bool:
        """Whether the node hands on the scale of its inputs."""
        sources = [value for value in node.inputs if value is not None and constant(value) is None]
        if node.domain or len(node.outputs) != 1 or not sources or any(each not in self._of for each in sources):
            return False
        (first, *others), result = sources, node.outputs[0]
        number, axis = self._of[first]
        if node.op_type == "Add":
            return self._added(node, first, others, result)
        if others:
            return False
        if node.op_type in _HOMOGENEOUS:
            return self._join(result, number, axis)
        if node.op_type == "Transpose":
            order = node.attributes["perm"].as_ints() if "perm" in node.attributes else ()
            return bool(order) and self._join(result, number, list(order).index(axis))
        if node.op_type in _ARRANGING:
            size = self._size(number)
            there = [at for at, length in enumerate(shape_of(result)) if at and length == size]
            lone = all(math.prod(_known(shape_of(each)[1:])) == size for each in (first, result))
            return lone and len(there) == 1 and self._join(result, number, there[0])
        return False

    def _added(self, node: ir.Node, first: ir.Value, others: list[ir.Value], result: ir.Value) -> bool:
        number, axis = self._of[first]
        if shape_of(first) != shape_of(result):
            return False
        for other in others:
            if shape_of(other) != shape_of(first) or self._of[other][1] != axis:
                return False
            self._parent[self._root(self._of[other][0])] = self._root(number)
        for shift in node.inputs:
            if shift is None or constant(shift) is None:
                continue
            rank = len(shape_of(shift))
            at = axis - len(shape_of(first)) + rank
            if at < 0 or not self._shifted(self._classes[number], shift, at):
                return False
        return self._join(result, number, axis)

    def _shifted(self, each: ScaleClass, shift: ir.Value, axis: int | None = None) -> bool:
        """Let the scales of a class multiply a constant, if it has an element for each channel and none else."""
        shape = shape_of(shift)
        axis = len(shape) - 1 if axis is None else axis
        if constant(shift) is None or not self._alone(shift) or not shape or shape[axis] != each.size:
            return False
        if math.prod(_known(shape)) != each.size:
            return False
        each.shifts.append(WeightsAxis(str(shift.name), axis, made=True))
        return True

    def _new(self, value: ir.Value, axis: int, size: int) -> ScaleClass:
        number = len(self._classes)
        self._parent[number] = number
        self._classes[number] = ScaleClass(size, [(str(value.name), axis)])
        self._of[value] = number, axis
        return self._classes[number]

    def _join(self, value: ir.Value, number: int, axis: int) -> bool:
        self._of[value] = number, axis
        self._classes[number].values.append((str(value.name), axis))
        return True

    def _has(self, value: ir.Value, axis: int, size: Any) -> bool:
        return value in self._of and self._of[value][1] == axis and self._size(self._of[value][0]) == size

    def _class(self, value: ir.Value) -> ScaleClass:
        return self._classes[self._of[value][0]]

    def _size(self, number: int) -> int:
        return self._classes[number].size

    def _fix(self, value: ir.Value | None) -> None:
        if value in self._of:
            self._fixed.add(self._of[value][0])

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            number = self._parent[number]
        return number

    def _alone(self, value: ir.Value) -> bool:
        return constant(value) is not None and not value.is_graph_output() and len(list(value.uses())) == 1


def _is_scaled(node: ir.Node) -> bool:
    """Gemm may scale by itself, and then its bias counts otherwise."""
    return any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))


def _known(shape: Any) -> list[int]:
    return [size if isinstance(size, int) else 0 for size in shape]


def scaled(content: np.ndarray[Any, Any], axis: WeightsAxis, scales: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A constant with its scales."""
    shape = [1] * content.ndim
    shape[axis.axis] = -1
    factors = scales.reshape(shape)
    return np.asarray(content * factors if axis.made else content / factors, content.dtype)
