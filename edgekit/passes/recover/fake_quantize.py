"""Fake quantization: the training graph rounds where a back end does, and gradients pass as if it did not.

Values are rounded where `passes.quantize.placement` says, weights symmetrically with a scale for each output channel;
a value's range is a moving average of what each batch takes (Jacob et al., CVPR 2018, arXiv:1712.05877). On ResNet-8,
ranges that learn from what they cut off, and ranges that stay, end with more loss; so do scales of 4-bit weights that
are learned (Esser et al., ICLR 2020, arXiv:1902.08153).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from edgekit.core.types import Integers, Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.passes.quantize.insert import channel_axis
from edgekit.passes.quantize.placement import Placement, place
from edgekit.passes.quantize.ranges import Range, params_of_range
from edgekit.passes.recover.samples import Array

__all__ = ["FakeQuantization"]

_RANGE = "range of "
_LAST = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})


class FakeQuantization:
    """A network's rounding, as a `Simulation` for `LoweredModule.activations`.

    The weights are held in units, powers of two that are about the size of the largest of a channel: so a step of the
    optimizer is as long for those that take pixels as for those that take shares of one.

    Attributes:
        integers: what int8 is.
        variables: the range of each value that is rounded, (least, greatest), by a name of its own.
        momentum: of the ranges as moving averages; 1 where they stay.
        kernels: the axis of the output channels of the weights that are rounded, by their names.
        stored_as: of each value that is int8, the one whose range it has: itself, or the one that it was made of.
    """

    def __init__(
        self, model: Model, weights: Mapping[str, Any], ranges: Mapping[str, Range], integers: Integers
    ) -> None:
        """Begin with measured ranges.

        Args:
            model: a float network, its BatchNormalization folded.
            weights: its variables by name; they are in units from now on.
            ranges: of each value, by its name.
            integers: what int8 is to the back end.
        """
        placement = _placed(model, ranges, integers)
        self.integers = integers
        self.momentum = 1.0
        self.kernels: dict[str, int] = {}
        self.variables: dict[str, Any] = {}
        self._units: dict[str, Array] = {}
        for node in model.graph:
            names = [str(value.name) if value is not None else "" for value in node.inputs]
            if node.name in placement.layers and names[1] in weights:
                self.kernels[names[1]] = channel_axis(node, len(weights[names[1]].shape))
                if len(names) > 2 and names[2] in weights:
                    made = ranges[str(node.outputs[0].name)]
                    self._units[names[2]] = _power_of_two(np.array(max(made.high, -made.low)))
        for name, variable in weights.items():
            self._units.setdefault(name, _unit(variable.numpy(), self.kernels.get(name)))
            variable.assign(variable / self._units[name].astype(np.float32))
        first: dict[int, str] = {}
        self.stored_as = {name: first.setdefault(id(params), name) for name, params in placement.values.items()}
        self._readers = {name: placement.readers[name] for name in first.values()}
        if not integers.pools_rescale:
            self._let_pools_keep_scales(model)
        for name in dict.fromkeys(self.stored_as.values()):
            params = placement.values[name]
            self.variables[_RANGE + name] = tf.Variable([params.low, params.high], trainable=False, dtype=tf.float32)

    def following(self, momentum: float) -> Self:
        """The same, whose ranges move with the batches that it sees: `momentum` of what they were is left."""
        moving = copy.copy(self)
        moving.momentum = momentum
        return moving

    def made(self, name: str, value: Laid) -> Laid:
        """Rounded, if every reader gets it by way of integers."""
        return self._rounded(name, value) if self._readers.get(name, ()) is None else value

    def read(self, layer: str, name: str, value: Laid) -> Laid:
        """Rounded, if it is weights or this reader gets it by way of integers."""
        if name in self._units:
            return Laid.logical(self._weights(name, value.value), value.shape, constant=True)
        readers = self._readers.get(name)
        return self._rounded(name, value) if readers and layer in readers else value

    def in_model(self, name: str, array: Array) -> Array:
        """An array that was in units, as the Model has it."""
        return np.asarray(array * self._units[name], np.float32)

    def range_of(self, name: str, arrays: Mapping[str, Array]) -> Range:
        """The range of a value that is int8, among `arrays` of the variables."""
        low, high = arrays[_RANGE + self.stored_as[name]]
        return Range(float(low), float(high))

    def _let_pools_keep_scales(self, model: Model) -> None:
        for node in model.graph:
            names = [str(value.name) for value in (*node.inputs[:1], node.outputs[0]) if value is not None]
            if node.op_type == "AveragePool" and self.stored_as.keys() >= set(names):
                old, new = self.stored_as[names[1]], self.stored_as[names[0]]
                self.stored_as |= {name: new for name, root in self.stored_as.items() if root == old}

    def _rounded(self, name: str, value: Laid) -> Laid:
        variable = self.variables[_RANGE + self.stored_as[name]]
        if self.momentum < 1 and self.stored_as[name] == name:
            taken = tf.minimum(tf.reduce_min(value.value), 0.0), tf.maximum(tf.reduce_max(value.value), 0.0)
            variable.assign_add((tf.stop_gradient(tf.stack(taken)) - variable) * (1 - self.momentum))
        low, high = tf.unstack(tf.stop_gradient(variable))
        if self.integers.symmetric:
            step = tf.where(low < 0, tf.maximum(high, -low) / 127, high / 255)
            low, high = tf.where(low < 0, -128 * step, 0.0), tf.where(low < 0, 127 * step, high)
        return value.like(tf.quantization.fake_quant_with_min_max_vars(value.value, low, high))

    def _weights(self, name: str, variable: Any) -> Any:
        weights = variable * tf.constant(self._units[name], tf.float32)
        if name not in self.kernels:
            return weights
        others = [axis for axis in range(len(weights.shape)) if axis != self.kernels[name]]
        tops = tf.reduce_max(tf.abs(weights), others, keepdims=True)
        scale = tf.where(tops > 0, tops / self.integers.top, 1.0)
        return weights + tf.stop_gradient(tf.round(weights / scale) * scale - weights)


def _placed(model: Model, ranges: Mapping[str, Range], integers: Integers) -> Placement:
    return place(
        model,
        QuantPlan(Precision.INT8),
        lambda name: params_of_range(ranges[name], symmetric=integers.symmetric),
        rounded=_answers(model) if integers.answers else (),
    )


def _answers(model: Model) -> frozenset[str]:
    """What goes into the last softmaxes and sigmoids, and the outputs that come from none."""
    found = set()
    for value in model.graph.outputs:
        node = value.producer()
        source = node.inputs[0] if node is not None and node.op_type in _LAST else value
        found.add(str(source.name) if source is not None else "")
    return frozenset(found)


def _unit(array: Array, axis: int | None) -> Array:
    """Of each output channel, or of all of an array that has none."""
    others = tuple(at for at in range(array.ndim) if at != axis) if axis is not None else None
    return _power_of_two(np.abs(array).max(axis=others, keepdims=axis is not None))


def _power_of_two(size: Array) -> Array:
    return np.asarray(np.exp2(np.round(np.log2(np.where(size > 0, size, 1)))))
