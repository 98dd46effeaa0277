"""The training form of a Model: which of its weights are trained, and what BatchNormalization does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.lowering.node import Node
from edgekit.lowering.ops.normalization import batch_normalization
from edgekit.passes.recover.widening import filled

if TYPE_CHECKING:
    from edgekit.lowering.module import LoweredModule

__all__ = ["batch_statistics", "decays", "trained", "written_back"]

# The inputs that hold what a network has learnt. Anything else, like the anchors of a detector or the mean that is
# taken from an image, was put there by hand.
_LEARNT: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "GRU": (1, 2, 3),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def trained(model: Model, module: LoweredModule) -> dict[str, Any]:
    """The variables to train, by name, in the order of the graph."""
    found: dict[str, Any] = {}
    for node in model.graph:
        places = _LEARNT.get(node.op_type, ())
        if node.op_type == "Add" and any(_is_product(value) for value in node.inputs):
            places = (0, 1)
        for place in places:
            value = node.inputs[place] if place < len(node.inputs) else None
            name = "" if value is None else str(value.name)
            if name in module.weights and (node.op_type != "Add" or _long_axes(module.weights[name]) == 1):
                found[name] = module.weights[name]
    return found


def decays(variable: Any) -> bool:
    """Whether weight decay is for this one: kernels and matrices, neither biases nor scales."""
    return _long_axes(variable) >= 2


def batch_statistics(momentum: float) -> Callable[..., Laid]:
    """BatchNormalization with the mean and variance of the batch, as a lowering for `LoweredModule.activations`.

    The stored ones become moving averages: `momentum` of the old and the rest of the new. An image may have more
    channels than the figures: zeros, put there by `widening`.
    """

    def lower(node: Node, x: Laid, *figures: Laid) -> Laid:
        scale, bias, mean, variance = figures
        if not isinstance(mean.value, tf.Variable):  # a single channel's figures are constants
            unchanged: Laid = batch_normalization(node, x, *figures)
            return unchanged
        source = x.to(channels_last(x.rank))
        rows = source.value if x.rank == 4 else tf.reshape(source.value, (-1, 1, 1, source.value.shape[-1]))
        channels = mean.value.shape[0]
        factor, shift = (filled(each.value, rows.shape[-1] - channels) for each in (scale, bias))
        result, found_mean, found_variance = tf.compat.v1.nn.fused_batch_norm(
            rows, factor, shift, epsilon=node.number("epsilon", 1e-5), is_training=True
        )
        for stored, found in ((mean.value, found_mean), (variance.value, found_variance)):
            stored.assign_add((found[:channels] - stored) * (1 - momentum))
        return source.like(result if x.rank == 4 else tf.reshape(result, tf.shape(source.value)))

    return lower


def written_back(model: Model, weights: Mapping[str, np.ndarray[Any, Any]]) -> Model:
    """A copy of `model` with `weights` for the initializers of these names."""
    result = model.clone()
    for name, array in weights.items():
        result.graph.initializers[name].const_value = ir.tensor(np.ascontiguousarray(array), name=name)
    return result


def _is_product(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    return node is not None and node.op_type in _PRODUCTS


def _long_axes(variable: Any) -> int:
    return len([size for size in variable.shape if size > 1])
