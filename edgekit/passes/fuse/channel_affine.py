"""What a node does to each channel of its input, if it is one scale and one shift a channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.passes.fuse.rewiring import Array, constant

__all__ = ["ChannelAffine", "become_gemm", "channel_affine", "per_channel"]


@dataclass(frozen=True)
class ChannelAffine:
    """`scale`·x + `shift`, one figure a channel each, float64."""

    scale: Array
    shift: Array


def channel_affine(step: ir.Node, index: int, axis: int, channels: int) -> ChannelAffine | None:
    """What `step` does to its input `index`: BatchNormalization, or Mul, Div, Add, Sub with a constant.

    Args:
        step: any node.
        index: 0 or 1.
        axis: the axis of the channels.
        channels: how many there are.

    Returns:
        None where it does anything else, or something that varies along other axes.
    """
    value = step.inputs[index]
    if step.domain or value is None or value.shape is None:
        return None
    if step.op_type == "BatchNormalization":
        return _normalization(step) if index == 0 and axis == 1 else None
    if step.op_type not in {"Mul", "Div", "Add", "Sub"}:
        return None
    content = constant(step.inputs[1 - index])
    other = None if content is None else per_channel(content, len(value.shape), axis, channels)
    if other is None:
        return None
    ones, zeros = np.ones_like(other), np.zeros_like(other)
    match step.op_type, index:
        case "Mul", _:
            return ChannelAffine(other, zeros)
        case "Div", 0 if other.all():
            return ChannelAffine(1 / other, zeros)
        case "Add", _:
            return ChannelAffine(ones, other)
        case "Sub", 0:
            return ChannelAffine(ones, -other)
        case "Sub", 1:
            return ChannelAffine(-ones, other)
    return None


def _normalization(step: ir.Node) -> ChannelAffine | None:
    if step.attributes.get_int("training_mode", 0) != 0 or len(step.outputs) > 1:
        return None
    gamma, beta, mean, variance = (constant(value) for value in step.inputs[1:5])
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    with np.errstate(all="ignore"):
        epsilon = step.attributes.get_float("epsilon", 1e-5)
        scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        return ChannelAffine(scale, beta - mean * scale)


def per_channel(content: Array, rank: int, axis: int, channels: int) -> Array | None:
    """`content`, broadcast against a tensor of `rank`, as one float64 a channel; None if it varies along other axes."""
    if content.ndim > rank:
        return None
    shape = (1,) * (rank - content.ndim) + content.shape
    if any(size != 1 for at, size in enumerate(shape) if at != axis) or shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(content.reshape(-1), (channels,)).astype(np.float64)


def become_gemm(node: ir.Node) -> bool:
    """Turn x·W into a Gemm, which has a place for a bias. Gemm takes matrices only."""
    value = node.inputs[0]
    if value is None or len(value.shape or ()) != 2:
        return False
    node.op_type = "Gemm"
    return True
