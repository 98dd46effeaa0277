"""A per-channel scale and shift behind a linear layer goes into that layer's weights.

The affine step may be a BatchNormalization, or Mul, Div, Add, Sub with constants that broadcast per channel; the linear
layer Conv, ConvTranspose, Gemm or MatMul, which then becomes a Gemm where it needs a bias:

    s·(W x + b) + t  =  (s·W) x + (s·b + t)

ONNX Script has rules for BatchNormalization alone. They drop the layer's name, leave a layer alone whose weights or
bias are shared, and fold a BatchNormalization in training mode too, which is wrong; for Mul and Add they know scalars
only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.ir.quantization import set_quant_params
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.channel_affine import ChannelAffine, become_gemm, channel_affine, per_channel
from edgekit.passes.fuse.rewiring import Array, bypass, constant, feeds_only, set_input_constant

__all__ = ["FoldAffine"]


class FoldAffine(Pass):
    """Folds each per-channel scale and shift into the linear layer before it."""

    name = "fold-affine"
    # The weights are rounded once more, and deep networks amplify that.
    tolerance = 5e-5

    def call(self, model: Model) -> PassResult:
        """Fold in graph order, so that a chain of steps ends up in the layer at its head."""
        return PassResult(model, sum(_fold(node) for node in list(model.graph)))


@dataclass(frozen=True)
class _Linear:
    """A linear layer: which axis of its output the channels are, and how its weights scale along them."""

    node: ir.Node
    channels: int
    channel_axis: int
    scaled: Callable[[Array], Array]


def _fold(step: ir.Node) -> bool:
    found = _match(step)
    if found is None:
        return False
    value, linear, affine = found
    layer = linear.node
    weights, bias = constant(layer.inputs[1]), _bias(linear)
    if weights is None or bias is None:
        return False
    with np.errstate(all="ignore"):
        new_weights = linear.scaled(affine.scale).astype(weights.dtype)
        new_bias = (affine.scale * bias + affine.shift).astype(weights.dtype)
    if not (np.isfinite(new_weights).all() and np.isfinite(new_bias).all()):
        return False
    if layer.op_type == "MatMul" and np.any(new_bias) and not become_gemm(layer):
        return False
    set_quant_params(value, None)  # said of what comes before the step
    bypass(step, value)
    set_input_constant(layer, 1, new_weights, name=f"{layer.name}/weight")
    if layer.op_type != "MatMul" and (np.any(new_bias) or _has_bias(layer)):
        set_input_constant(layer, 2, new_bias, name=f"{layer.name}/bias")
        layer.attributes.pop("beta", None)
    return True


def _match(step: ir.Node) -> tuple[ir.Value, _Linear, ChannelAffine] | None:
    """The value that nothing but `step` reads, the linear layer that makes it, and what `step` does to it."""
    for index, value in enumerate(step.inputs[:2]):
        if value is None or not feeds_only(value, step):
            continue
        layer, reshaped = _behind_reshapes(value)
        linear = _linear(layer) if layer is not None else None
        if linear is None or (reshaped and linear.channel_axis != 1):
            continue
        affine = channel_affine(step, index, linear.channel_axis, linear.channels)
        if affine is not None:
            return value, linear, affine
    return None


def _behind_reshapes(value: ir.Value) -> tuple[ir.Node | None, bool]:
    """The node that makes `value`, but for reshapes behind it that keep batch and channels in front; if there were any.

    Keras' BatchNormalization of vectors comes as (batch, C) → (batch, C, 1, 1) → BatchNormalization → (batch, C).
    """
    node, reshaped = value.producer(), False
    while node is not None and node.op_type in {"Flatten", "Reshape", "Squeeze", "Unsqueeze"} and not node.domain:
        source = node.inputs[0]
        if source is None or not feeds_only(source, node) or not _same_front(source, node.outputs[0]):
            break
        node, reshaped = source.producer(), True
    return node, reshaped


def _same_front(one: ir.Value, other: ir.Value) -> bool:
    """Whether channels are the same, and as much behind them: then so is the batch."""
    sizes = [tuple(value.shape)[1:] if value.shape is not None else () for value in (one, other)]
    if not all(shape and all(isinstance(size, int) for size in shape) for shape in sizes):
        return False
    return sizes[0][0] == sizes[1][0] and math.prod(sizes[0]) == math.prod(sizes[1])


def _linear(node: ir.Node) -> _Linear | None:
    weights = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = len(node.outputs[0].shape or ())
    if weights is None or node.domain or weights.dtype.kind != "f":
        return None
    match node.op_type:
        case "Conv":
            return _Linear(node, len(weights), 1, lambda scale: _along(scale, 0, weights) * weights)
        case "ConvTranspose":
            groups = node.attributes.get_int("group", 1)
            channels = weights.shape[1] * groups
            return _Linear(node, channels, 1, lambda scale: _scale_transposed(weights, scale, groups))
        case "Gemm":
            axis = 0 if node.attributes.get_int("transB", 0) else 1
            return _Linear(node, weights.shape[axis], 1, lambda scale: _along(scale, axis, weights) * weights)
        case "MatMul" if weights.ndim == 2 and rank >= 2:
            return _Linear(node, weights.shape[1], rank - 1, lambda scale: weights * scale)
    return None


def _along(vector: Array, axis: int, like: Array) -> Array:
    return vector.reshape([-1 if at == axis else 1 for at in range(like.ndim)])


def _scale_transposed(weights: Array, scale: Array, groups: int) -> Array:
    """Weights of a ConvTranspose, (in, out per group, …): the input channels of a group see that group's scales."""
    grouped = weights.reshape(groups, -1, *weights.shape[1:])
    scales = scale.reshape(groups, 1, -1, *[1] * (weights.ndim - 2))
    product: Array = (grouped * scales).reshape(weights.shape)
    return product


def _bias(linear: _Linear) -> Array | None:
    """The layer's bias per channel in float64, zeros where it has none; None where it is no constant per channel."""
    node = linear.node
    if not _has_bias(node):
        return np.zeros(linear.channels)
    bias = constant(node.inputs[2])
    if bias is None:
        return None
    rank = 1 if node.op_type != "Gemm" else 2
    channels = per_channel(bias, rank, rank - 1, linear.channels)
    return None if channels is None else channels * node.attributes.get_float("beta", 1.0)


def _has_bias(node: ir.Node) -> bool:
    return len(node.inputs) > 2 and node.inputs[2] is not None
