"""A layer with constant weights as the matrix product that it is: its weights, and what they are applied to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.passes.fuse.rewiring import constant

__all__ = ["MAX_WIDTH", "LayerMatrix", "drawn", "has_rows", "layer_matrix", "window_rows"]

_Array = np.ndarray[Any, Any]
# A wider input (an image that is flattened) would need gigabytes of moments.
MAX_WIDTH = 4096


@dataclass(frozen=True)
class LayerMatrix:
    """A Conv, Gemm or MatMul as y = W x, for each group of channels.

    Attributes:
        node: the layer.
        weights: (groups, channels that a group makes, numbers that it reads), float32.
    """

    node: ir.Node
    weights: _Array

    def restored(self, weights: _Array) -> _Array:
        """Such weights in the shape that the operator wants."""
        content = constant(self.node.inputs[1])
        assert content is not None
        if self.node.op_type == "Conv":
            return np.ascontiguousarray(weights.reshape(content.shape))
        return np.ascontiguousarray(weights[0] if has_rows(self.node) else weights[0].T)

    def rows(self, data: _Array, most: int, seed: int) -> _Array:
        """What the weights are applied to, (groups, places, numbers read), at `most` places of an input at random."""
        if self.node.op_type != "Conv":
            return drawn(data.reshape(-1, data.shape[-1]), most, seed)[None]
        content = constant(self.node.inputs[1])
        assert content is not None
        found = window_rows(data, content.shape[2:], self.node.attributes, most, seed)
        return np.moveaxis(found.reshape(len(found), len(self.weights), -1), 1, 0)


def drawn(rows: _Array, most: int, seed: int) -> _Array:
    """At most so many of the rows, at random, in their order."""
    found: _Array = rows[_drawn(len(rows), most, seed)]
    return found


def window_rows(data: _Array, kernel: Sequence[int], attributes: Any, most: int, seed: int) -> _Array:
    """What a convolution's window meets, (places, channels · window), at `most` places of an input at random.

    Args:
        data: (samples, channels, …).
        kernel: the window's sizes, one a spatial axis.
        attributes: of the Conv: strides, dilations, and padding.
        most: places.
        seed: of the draw.
    """
    windows = _windows(data, kernel, attributes)
    places = (len(data), *windows.shape[2 : data.ndim])
    chosen = _drawn(int(np.prod(places)), most, seed)
    at: Any = np.unravel_index(chosen, places)
    return windows[(at[0], slice(None), *at[1:])].reshape(len(chosen), -1)


def _windows(data: _Array, kernel: Sequence[int], attributes: Any) -> _Array:
    """A view of the input, (samples, channels, *places, *window)."""
    rank = len(kernel)
    strides, dilations = (list(attributes.get_ints(name, [1] * rank)) for name in ("strides", "dilations"))
    sizes = [(size - 1) * gap + 1 for size, gap in zip(kernel, dilations, strict=True)]
    pads = list(attributes.get_ints("pads", [0] * 2 * rank))
    same = attributes.get_string("auto_pad", "NOTSET")
    if same.startswith("SAME"):
        spare = [
            max((-(-length // stride) - 1) * stride + size - length, 0)
            for length, stride, size in zip(data.shape[2:], strides, sizes, strict=True)
        ]
        less, more = [each // 2 for each in spare], [each - each // 2 for each in spare]
        pads = [*less, *more] if same == "SAME_UPPER" else [*more, *less]
    padded = np.pad(data, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    axes = tuple(range(2, 2 + rank))
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(sizes), axis=axes)
    every: Any = (..., *(slice(None, None, each) for each in (*strides, *dilations)))
    found: _Array = windows[every]
    return found


def layer_matrix(node: ir.Node) -> LayerMatrix | None:
    """A layer as a product; None for one that is none, or whose weights are too wide or read by others too."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    content = constant(value)
    if value is None or content is None or content.dtype != np.float32 or len(value.uses()) != 1:
        return None
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1)
        weights = content.reshape(groups, content.shape[0] // groups, -1)
    elif node.op_type in {"Gemm", "MatMul"} and content.ndim == 2 and not node.attributes.get_int("transA", 0):
        weights = (content if has_rows(node) else content.T)[None]
    else:
        return None
    return LayerMatrix(node, weights) if weights.shape[-1] <= MAX_WIDTH else None


def has_rows(node: ir.Node) -> bool:
    """Whether the weights of a dense layer have a row for each channel that is made."""
    return bool(node.attributes.get_int("transB", 0))


def _drawn(count: int, most: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
