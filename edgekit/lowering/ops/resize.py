"""Resize: along each axis a constant matrix, which is one of TFLite's resizing ops wherever it equals theirs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.interpolation import interpolation_matrices, tflite_matrix
from edgekit.lowering.layout import Laid, channels_last, reshaped
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers
from edgekit.lowering.window import as_image, from_image

__all__: list[str] = []

Array = np.ndarray[Any, Any]


@lowers("Resize", constants=(1, 2, 3))
def resize(
    node: Node, x: Laid, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None
) -> Laid:
    """Interpolation is linear in the image and separable: one matrix (outputs, inputs) for each axis."""
    matrices = interpolation_matrices(node, roi, scales, sizes)
    extrapolated = node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if not extrapolated and x.rank in (3, 4) and not matrices.keys() & {0, 1}:
        source = x.to(channels_last(x.rank))
        image = _with_tflite_op(as_image(source.value, x.rank), [matrices.get(axis) for axis in range(2, x.rank)])
        if image is not None:
            return Laid(from_image(image, x.rank), node.output_shape, source.order)
    source = x.with_all_axes()
    value = source.value
    for axis, matrix in matrices.items():
        value = _along(value, source.axis(axis), matrix)
    if extrapolated:
        value = _extrapolated(value, source, matrices, node.number("extrapolation_value", 0.0))
    return Laid(value, node.output_shape, source.order)


def _with_tflite_op(image: Any, wanted: list[Array | None]) -> Any:
    """The image (N, H, W, C) through RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR, or None where neither does it."""
    wanted = [*(None,) * (2 - len(wanted)), *wanted]
    sizes = image.shape.as_list()[1:3]
    found = [
        np.eye(size, dtype=np.float32) if matrix is None else matrix for matrix, size in zip(wanted, sizes, strict=True)
    ]
    outputs = [len(matrix) for matrix in found]
    for linear, align_corners, half_pixels in itertools.product((True, False), repeat=3):
        if align_corners and half_pixels:
            continue
        if all(
            np.allclose(tflite_matrix(matrix.shape, linear, align_corners, half_pixels), matrix, atol=1e-5)
            for matrix in found
        ):
            op = tf.raw_ops.ResizeBilinear if linear else tf.raw_ops.ResizeNearestNeighbor
            return op(images=image, size=outputs, align_corners=align_corners, half_pixel_centers=half_pixels)
    return None


def _along(value: Any, axis: int, matrix: Array) -> Any:
    """`matrix` times one physical axis; a matrix that only picks is a Gather."""
    if (np.count_nonzero(matrix, axis=1) == 1).all() and (matrix.max(axis=1) == 1).all():
        return tf.gather(value, matrix.argmax(axis=1).astype(np.int32), axis=axis)
    sizes = value.shape.as_list()
    behind = int(np.prod(sizes[axis + 1 :]))
    product = tf.matmul(matrix, reshaped(value, (None, sizes[axis], behind)))
    return reshaped(product, [*sizes[:axis], len(matrix), *sizes[axis + 1 :]])


def _extrapolated(value: Any, source: Laid, matrices: dict[int, Array], filler: float) -> Any:
    """What lies outside of the input (there, a row of a matrix is zero) is `filler`."""
    inside: Array = np.ones((1,) * source.rank, np.float32)
    for axis, matrix in matrices.items():
        shape = [1] * source.rank
        shape[source.axis(axis)] = len(matrix)
        inside = inside * matrix.any(axis=1).astype(np.float32).reshape(shape)
    return value if inside.all() or not filler else value * inside + filler * (1 - inside)
