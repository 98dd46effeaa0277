"""The lowered network: a `tf.Module` that walks the Model's graph and emits TensorFlow, in NHWC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from edgekit.core.scopes import legal_name
from edgekit.core.types import Layout, TensorSpec, permutation
from edgekit.ir import Model
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.naming import scope_names
from edgekit.lowering.node import Node
from edgekit.lowering.registry import Entry, entry

__all__ = ["LoweredModule", "Simulation"]


class Simulation(Protocol):
    """What becomes of values and weights on their way through the network, where training simulates another one."""

    def made(self, name: str, value: Laid) -> Laid:
        """What is kept of an input, or of a result."""
        ...

    def read(self, layer: str, name: str, value: Laid) -> Laid:
        """What a layer gets as one of its inputs, a value or a weight."""
        ...


class LoweredModule(tf.Module):  # type: ignore[misc]
    """A Model as a function of TensorFlow tensors.

    Attributes:
        inputs, outputs: what it takes and gives, in the Model's order; what the Model has as NCHW is NHWC here.
        weights: a variable for each float initializer that is more than a number, in ONNX's own shape, by its name.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(name="model")
        self._model = model
        self._scopes = scope_names(model)
        self._model_inputs, self._model_outputs = model.inputs, model.outputs
        self.inputs = tuple(_boundary(spec) for spec in model.inputs)
        self.outputs = tuple(_boundary(spec) for spec in model.outputs)
        self.weights: dict[str, tf.Variable] = {}
        for node in model.graph:
            self._add_weights(node, entry(Node(node)))

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        """Run the network.

        Args:
            inputs: one tensor for each of `self.inputs`.

        Returns:
            One tensor for each of `self.outputs`.
        """
        values = self.activations(*inputs)
        return tuple(self._output(values, spec) for spec in self.outputs)

    def activations(
        self,
        *inputs: Any,
        training: Mapping[str, Callable[..., Any]] | None = None,
        simulation: Simulation | None = None,
    ) -> dict[str, Laid]:
        """Run the network and give every value in it, by its name in the Model.

        Args:
            inputs: one tensor for each of `self.inputs`.
            training: lowerings by op type that take the place of the registered ones, where training wants another
                form of an op than inference does.
            simulation: changes values and weights on their way.
        """
        values: dict[str, Laid] = {}
        for tensor, spec, logical in zip(inputs, self.inputs, self._model_inputs, strict=True):
            order = permutation(logical.layout, spec.layout, len(spec.shape))
            laid = Laid(tensor, logical.shape, order)
            values[spec.name] = simulation.made(spec.name, laid) if simulation else laid
        for node in self._model.graph:
            with tf.name_scope(f"{self._scopes[node.name or '']}/"):  # the slash: this very name, never a numbered one
                results = self._lower(node, values, training or {}, simulation)
                for output, result in zip(node.outputs, results, strict=False):
                    name = output.name or ""
                    values[name] = simulation.made(name, result) if simulation else result
        return values

    def concrete_function(self, batch: int) -> Any:
        """The network for `batch` samples, as TFLite's converter takes it."""
        signature = [
            tf.TensorSpec(spec.with_batch(batch), spec.dtype, name=f"input_{index}")
            for index, spec in enumerate(self.inputs)
        ]
        return tf.function(self.__call__, input_signature=signature, autograph=False).get_concrete_function()

    def _lower(
        self,
        node: ir.Node,
        values: dict[str, Laid],
        training: Mapping[str, Callable[..., Any]],
        simulation: Simulation | None,
    ) -> tuple[Laid, ...]:
        view = Node(node)
        found = entry(view)
        arguments = [self._argument(found, index, view, value, values) for index, value in enumerate(node.inputs)]
        if simulation:
            arguments = [
                simulation.read(view.name, value.name or "", argument)
                if value is not None and isinstance(argument, Laid)
                else argument
                for value, argument in zip(node.inputs, arguments, strict=True)
            ]
        result = training.get(view.op, found.lower)(view, *arguments)
        return result if isinstance(result, tuple) else (result,)

    def _argument(
        self, found: Entry, index: int, node: Node, value: ir.Value | None, values: dict[str, Laid]
    ) -> Laid | np.ndarray[Any, Any] | None:
        if value is None:
            return None
        if index in found.constants:
            return node.constant(index)
        name = value.name or ""
        if name in values:
            return values[name]
        array = node.constant(index)
        assert array is not None, f"{name} is neither computed nor constant"
        return Laid.logical(self.weights.get(name, tf.constant(array)), array.shape, constant=True)

    def _add_weights(self, node: ir.Node, found: Entry) -> None:
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None or index in found.constants:
                continue
            array = value.const_value.numpy()
            name = value.name or ""
            if array.size > 1 and array.dtype.kind == "f" and name not in self.weights:
                self.weights[name] = tf.Variable(array, trainable=index not in found.frozen, name=legal_name(name))

    def _output(self, values: dict[str, Laid], spec: TensorSpec) -> Any:
        logical = next(output for output in self._model_outputs if output.name == spec.name)
        order = permutation(logical.layout, spec.layout, len(spec.shape))
        found = values.get(spec.name)
        if found is None:  # an output that needs no input
            constant = self._model.graph.initializers[spec.name].const_value
            assert constant is not None, f"{spec.name} is neither computed nor constant"
            found = Laid.logical(tf.constant(constant.numpy()), logical.shape)
        return tf.identity(found.to(order).value)


def _boundary(spec: TensorSpec) -> TensorSpec:
    """How the lowered network takes or gives `spec`: images as NHWC, anything else as the Model has it."""
    if spec.layout is not Layout.NCHW:
        return spec
    shape = tuple(spec.shape[axis] for axis in permutation(Layout.NCHW, Layout.NHWC, 4))
    return replace(spec, shape=shape, layout=Layout.NHWC)
