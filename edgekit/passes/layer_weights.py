"""The weights that sparsity and clustering are about: the large constants that layers multiply by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.passes.fuse.rewiring import constant
from edgekit.passes.prune.layers import layers

__all__ = ["LayerWeights", "bias_of", "layer_weights", "no_numbers", "require_weights", "set_weights"]

# Fewer weights than this weigh next to nothing in a file, and much in an answer.
_LEAST = 256


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer.

    Attributes:
        layer: the name of the node; of the first one, where several share them.
        constant: the name of the initializer.
        made: the axis of the output channels.
        read: the axis of the input channels.
        content: float32, as the operator wants them.
    """

    layer: str
    constant: str
    made: int
    read: int
    content: np.ndarray[Any, np.dtype[np.float32]]


def layer_weights(model: Model) -> tuple[LayerWeights, ...]:
    """The weights of Conv, ConvTranspose, Gemm and MatMul, in the order of the layers.

    Not those of depthwise convolutions, which are few and each of which matters, nor constants of fewer than 256
    elements, nor those that anything but a layer reads too (an embedding table that is also the last layer).

    Raises:
        InvalidInputError: weights that are no numbers.
    """
    found: dict[str, LayerWeights] = {}
    for node, makes, reads in layers(model.graph):
        value = makes.weights
        assert value.const_value is not None
        if reads is None or not _weights_alone(value) or value.const_value.size < _LEAST or _is_depthwise(node, value):
            continue
        content = value.const_value.numpy()
        if not np.isfinite(content).all():
            raise no_numbers(makes.layer)
        name = str(value.name)
        found.setdefault(name, LayerWeights(makes.layer, name, makes.axis, reads.axis, content))
    return tuple(found.values())


def no_numbers(layer: str) -> InvalidInputError:
    """The error of a layer whose weights are not finite."""
    return InvalidInputError(
        f"the weights of {layer} hold values that are no numbers",
        blame="your model",
        remedy="Train it again, or export it again, from a state whose loss was a number.",
    )


def require_weights(model: Model) -> tuple[LayerWeights, ...]:
    """The same, where there have to be some.

    Raises:
        InvalidInputError: there are none.
    """
    found = layer_weights(model)
    if not found:
        raise InvalidInputError(
            "there are no weights to make sparse or to cluster: no layer but depthwise convolutions has constant ones,"
            f" {_LEAST} of them or more",
            blame="your model",
            remedy="Build it without --sparsity and --clusters.",
        )
    return found


def bias_of(node: ir.Node, channels: int) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The bias of a layer, (channels,), zeros where it has none yet; None where it can't have one."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if node.op_type == "MatMul":
        return None
    if value is None:
        return np.zeros(channels)
    content = constant(value)
    if content is None or content.size != channels or node.attributes.get_float("beta", 1.0) != 1:
        return None
    return content.ravel().astype(np.float64)


def set_weights(model: Model, constant: str, content: np.ndarray[Any, Any]) -> None:
    """Give the initializer called `constant` another content of the same shape."""
    model.graph.initializers[constant].const_value = ir.tensor(np.ascontiguousarray(content, np.float32), name=constant)


def _weights_alone(value: ir.Value) -> bool:
    linear = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    return not value.is_graph_output() and all(
        use.node.op_type in linear and not use.node.domain and use.idx == 1 for use in value.uses()
    )


def _is_depthwise(node: ir.Node, weights: ir.Value) -> bool:
    """Of a transposed convolution; `layers` knows the others."""
    assert weights.shape is not None
    return node.op_type == "ConvTranspose" and 1 < node.attributes.get_int("group", 1) == weights.shape[0]
