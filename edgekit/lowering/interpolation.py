"""ONNX's Resize as matrices: what each output takes from the inputs along one axis.

The formulas are those of the operator's specification (opset 19); where its reference implementation and ONNX Runtime
differ (the length that align_corners divides by), this follows the runtime, which is the reference for a Model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edgekit.lowering.node import Node

__all__ = ["interpolation_matrices", "tflite_matrix"]

Array = np.ndarray[Any, Any]


def interpolation_matrices(
    node: Node, roi: Array | None, scales: Array | None, sizes: Array | None
) -> dict[int, Array]:
    """The matrix (outputs, inputs), float32, for each axis that the Resize `node` changes."""
    rank = len(node.shape())
    axes = [axis % rank for axis in node.integers("axes", tuple(range(rank)))]
    factors = _scales(node, axes, scales, sizes)
    matrices = {}
    for place, axis in enumerate(axes):
        before, after = node.shape()[axis], node.output_shape[axis]
        if before is None or after is None:
            continue  # the open batch, which no Resize changes
        bounds = (0.0, 1.0) if roi is None or not roi.size else (float(roi[place]), float(roi[place + len(axes)]))
        matrix = _matrix(node, before, after, factors[place], bounds)
        if before != after or not np.array_equal(matrix, np.eye(before)):
            matrices[axis] = matrix
    return matrices


def tflite_matrix(shape: tuple[int, int], linear: bool, align_corners: bool, half_pixels: bool) -> Array:  # noqa: FBT001
    """What TFLite's RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR does along an axis (outputs, inputs)."""
    after, before = shape
    scale = (before - 1) / (after - 1) if align_corners and after > 1 else before / after
    at = (np.arange(after) + (0.5 if half_pixels else 0.0)) * scale
    if not linear:
        picked = np.floor(at + 0.5) if align_corners else np.floor(at)
        return _picks(picked, before)
    return _weighted(at - (0.5 if half_pixels else 0.0), before, _linear, reach=1)


def _scales(node: Node, axes: list[int], scales: Array | None, sizes: Array | None) -> list[float]:
    """How many outputs an input has along each of `axes`."""
    if scales is not None and scales.size:
        return [float(np.float32(scale)) for scale in scales]
    assert sizes is not None
    ratios = [int(size) / (node.shape()[axis] or int(size)) for size, axis in zip(sizes, axes, strict=True)]
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return ratios
    return [min(ratios) if policy == "not_larger" else max(ratios)] * len(ratios)


def _matrix(node: Node, before: int, after: int, scale: float, roi: tuple[float, float]) -> Array:
    transformation = node.text("coordinate_transformation_mode", "half_pixel")
    at = _positions(transformation, before, after, scale, roi)
    mode = node.text("mode", "nearest")
    if mode == "nearest":
        matrix = _picks(_ROUNDINGS[node.text("nearest_mode", "round_prefer_floor")](at), before)
    else:
        stretch = max(1.0, 1.0 / scale) if node.integer("antialias") else 1.0
        a = node.number("cubic_coeff_a", -0.75)
        kernel, reach = (_linear, 1) if mode == "linear" else (partial(_cubic, a=a), 2)
        exclude = bool(node.integer("exclude_outside"))
        matrix = _weighted(at, before, kernel, reach, stretch, exclude=exclude)
    if transformation == "tf_crop_and_resize":
        matrix[(at < 0) | (at > before - 1)] = 0
    return matrix


def _positions(transformation: str, before: int, after: int, scale: float, roi: tuple[float, float]) -> Array:
    """Where each output lies among the inputs; single precision, as the runtimes compute it."""
    x, factor = np.arange(after, dtype=np.float32), np.float32(scale)
    if transformation == "asymmetric":
        return x / factor
    if transformation == "align_corners":
        return x * np.float32((before - 1) / (after - 1)) if after > 1 else x * 0
    if transformation == "tf_crop_and_resize":
        start, end = roi
        if after == 1:
            return x + np.float32(0.5 * (start + end) * (before - 1))
        return np.float32(start * (before - 1)) + x * np.float32((end - start) * (before - 1) / (after - 1))
    if transformation == "pytorch_half_pixel" and after == 1:
        return x * 0
    half = np.float32(0.5)
    offset = np.float32(0.0)
    if transformation == "half_pixel_symmetric":
        offset = np.float32(before / 2 * (1 - after / (scale * before)))
    return offset + (x + half) / factor - half


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _picks(index: Array, before: int) -> Array:
    """One input for each output, the outermost where `index` is outside."""
    matrix: Array = np.eye(before, dtype=np.float32)[np.clip(index, 0, before - 1).astype(int)]
    return matrix


def _weighted(
    at: Array, before: int, kernel: Callable[[Array], Array], reach: int, stretch: float = 1.0, *, exclude: bool = False
) -> Array:
    """Each output as the sum of the inputs within `reach · stretch`, weighted by `kernel` of the distance.

    Inputs that would lie outside are the outermost ones, or (`exclude`) count nothing.
    """
    at = at.astype(np.float64)
    taps = int(np.ceil(reach * stretch))
    index = np.floor(at)[:, None] + np.arange(1 - taps, taps + 1)
    weights = kernel(np.abs(index - at[:, None]) / stretch)
    if exclude:
        weights = np.where((index >= 0) & (index < before), weights, 0)
    if exclude or stretch > 1:
        weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((len(at), before))
    rows = np.broadcast_to(np.arange(len(at))[:, None], index.shape)
    np.add.at(matrix, (rows, np.clip(index, 0, before - 1).astype(int)), weights)
    return matrix.astype(np.float32)


def _linear(distance: Array) -> Array:
    return np.asarray(np.maximum(1 - distance, 0))


def _cubic(distance: Array, a: float) -> Array:
    """Keys' convolution kernel (1981)."""
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
