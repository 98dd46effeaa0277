"""A per-channel scale and shift in front of a linear layer goes into that layer's weights.

    W (s·x + t) + b  =  (W·s) x + (W t + b)

A normalised input, and a BatchNormalization before its convolution, come so. Zeros that pad a convolution are not
shifted, so a shift folds only where nothing is padded; a scale always does. ONNX Script's rule wants figures that all
channels share, and loses the layer's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.channel_affine import ChannelAffine, become_gemm, channel_affine, per_channel
from edgekit.passes.fuse.rewiring import Array, constant, feeds_only, set_input_constant

__all__ = ["FoldPrescale"]


class FoldPrescale(Pass):
    """Folds each per-channel scale and shift into the linear layer that alone reads its result."""

    name = "fold-prescale"
    # As for what stands behind a layer: the weights are rounded once more.
    tolerance = 5e-5

    def call(self, model: Model) -> PassResult:
        """Fold from the outputs to the inputs, so that a chain of steps ends up in the layer behind it."""
        return PassResult(model, sum(_fold(node) for node in reversed(list(model.graph))))


@dataclass(frozen=True)
class _Linear:
    """A linear layer: its input channels and their axis, its weights times a scale, and what it makes of a shift.

    `shifted` gives one figure an output channel; None where a shift is not one.
    """

    channels: int
    axis: int
    scaled: Callable[[Array], Array]
    shifted: Callable[[Array], Array] | None


def _fold(step: ir.Node) -> bool:
    found = _match(step)
    if found is None:
        return False
    index, layer, linear, affine = found
    with np.errstate(all="ignore"):
        weights = linear.scaled(affine.scale).astype(np.float32)
        extra = linear.shifted(affine.shift) if linear.shifted is not None else None
    shifts = bool(affine.shift.any())
    bias = _bias(layer, extra) if shifts and extra is not None else None
    if shifts and bias is None:
        return False
    if not all(np.isfinite(figures).all() for figures in (weights, bias) if figures is not None):
        return False
    if shifts and layer.op_type == "MatMul" and not become_gemm(layer):
        return False
    layer.replace_input_with(0, step.inputs[index])
    set_input_constant(layer, 1, weights, name=f"{layer.name}/weight")
    if bias is not None:
        set_input_constant(layer, 2, bias, name=f"{layer.name}/bias")
        layer.attributes.pop("beta", None)
    assert step.graph is not None
    step.graph.remove(step, safe=True)
    return True


def _match(step: ir.Node) -> tuple[int, ir.Node, _Linear, ChannelAffine] | None:
    """Which input of `step` it scales and shifts, the layer that alone reads the result, and how."""
    uses = list(step.outputs[0].uses()) if step.outputs else []
    if len(uses) != 1 or uses[0].idx != 0 or not feeds_only(step.outputs[0], uses[0].node):
        return None
    layer = uses[0].node
    linear = _linear(layer)
    for index, value in enumerate(step.inputs[:2] if linear is not None else ()):
        affine = channel_affine(step, index, linear.axis, linear.channels) if linear is not None else None
        same = value is not None and value.shape is not None and step.outputs[0].shape is not None
        if linear is None or affine is None or not same or value.shape.dims != step.outputs[0].shape.dims:  # type: ignore[union-attr]
            continue
        return index, layer, linear, affine
    return None


def _linear(node: ir.Node) -> _Linear | None:
    weights = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weights is None or node.domain or weights.dtype != np.float32:
        return None
    wide = weights.astype(np.float64)
    match node.op_type:
        case "Conv":
            return _conv(node, wide)
        case "ConvTranspose":
            column = (-1, *[1] * (weights.ndim - 1))
            return _Linear(len(weights), 1, lambda scale: wide * scale.reshape(column), None)
        case "Gemm" if not node.attributes.get_int("transA", 0):
            matrix = wide.T if node.attributes.get_int("transB", 0) else wide
            alpha = node.attributes.get_float("alpha", 1.0)
            turned = node.attributes.get_int("transB", 0) == 1

            def scaled(scale: Array) -> Array:
                product = matrix * scale[:, None]
                return product.T if turned else product

            return _Linear(len(matrix), 1, scaled, lambda shift: alpha * (shift @ matrix))
        case "MatMul" if weights.ndim == 2 and node.inputs[0] is not None and node.inputs[0].shape is not None:
            axis = len(node.inputs[0].shape) - 1
            return _Linear(len(wide), axis, lambda scale: wide * scale[:, None], lambda shift: shift @ wide)
    return None


def _conv(node: ir.Node, weights: Array) -> _Linear:
    """Weights are (out, in per group, …): the input channels of a group stand along axis 1."""
    groups = node.attributes.get_int("group", 1)
    grouped = weights.reshape(groups, -1, *weights.shape[1:])
    inner = weights.shape[1]
    column = (groups, 1, inner, *[1] * (weights.ndim - 2))

    def shifted(shift: Array) -> Array:
        product: Array = (grouped * shift.reshape(column)).sum(axis=tuple(range(2, grouped.ndim)))
        return product.reshape(-1)

    padded = any(node.attributes.get_ints("pads", ())) or node.attributes.get_string("auto_pad", "NOTSET") not in {
        "NOTSET",
        "VALID",
    }
    return _Linear(
        groups * inner,
        1,
        lambda scale: (grouped * scale.reshape(column)).reshape(weights.shape),
        None if padded else shifted,
    )


def _bias(layer: ir.Node, extra: Array) -> Array | None:
    """The layer's bias with `extra` on top; None where the bias it has is not one figure a channel."""
    own = layer.inputs[2] if len(layer.inputs) > 2 else None
    if own is None:
        return extra.astype(np.float32)
    content, rank = constant(own), 2 if layer.op_type == "Gemm" else 1
    figures = per_channel(content, rank, rank - 1, len(extra)) if content is not None else None
    if figures is None:
        return None
    beta = layer.attributes.get_float("beta", 1.0) if layer.op_type == "Gemm" else 1.0
    return (figures * beta + extra).astype(np.float32)
