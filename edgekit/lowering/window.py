"""Sliding windows: ONNX's kernel, stride, dilation and padding attributes, and what they are in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.node import Node

__all__ = ["Window", "as_image", "from_image", "refuse_convolution"]


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution or pooling over (height, width); a 1-D one has height 1.

    Attributes:
        sizes: the input.
        outputs: the output.
        kernel, strides, dilations: of the window.
        begin: padding in front that ONNX asks for.
        declared_end: padding behind that ONNX asks for; the last windows may need less, or, under ceil_mode, more.
    """

    sizes: tuple[int, int]
    outputs: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]
    declared_end: tuple[int, int]

    @classmethod
    def of(cls, node: Node, kernel: Sequence[int | None]) -> Window:
        """The window of a Conv or a pool over (N, C, spatial…)."""
        sizes, outputs = _static(node.shape()[2:]), _static(node.output_shape[2:])
        spatial = len(sizes)
        kernel = _static(kernel)
        ones = (1,) * spatial
        strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
        pads = node.integers("pads", (0,) * 2 * spatial)
        begin, end = list(pads[:spatial]), list(pads[spatial:])
        auto_pad = node.text("auto_pad", "NOTSET")
        if auto_pad.startswith("SAME"):
            for i in range(spatial):
                total = max((outputs[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - sizes[i], 0)
                begin[i] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
                end[i] = total - begin[i]
        return cls(
            _two(sizes), _two(outputs), _two(kernel), _two(strides), _two(dilations), _two(begin, 0), _two(end, 0)
        )

    @classmethod
    def transposed(cls, node: Node, kernel: Sequence[int | None]) -> Window:
        """The window of the convolution that a ConvTranspose is the gradient of: it slides over the node's output."""
        sizes, outputs = _static(node.output_shape[2:]), _static(node.shape()[2:])
        spatial, kernel = len(sizes), _static(kernel)
        ones = (1,) * spatial
        strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
        pads = node.integers("pads", (0,) * 2 * spatial)
        begin, end = list(pads[:spatial]), list(pads[spatial:])
        auto_pad, extra = node.text("auto_pad", "NOTSET"), node.integers("output_padding", (0,) * spatial)
        if auto_pad.startswith("SAME") or node.integers("output_shape"):
            for i in range(spatial):
                span = (kernel[i] - 1) * dilations[i] + 1
                total = max((outputs[i] - 1) * strides[i] + extra[i] + span - sizes[i], 0)
                begin[i] = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
                end[i] = total - begin[i]
        return cls(
            _two(sizes), _two(outputs), _two(kernel), _two(strides), _two(dilations), _two(begin, 0), _two(end, 0)
        )

    @property
    def end(self) -> tuple[int, int]:
        """The padding behind that the last windows really reach."""
        return _two([max(need, 0) for need in self._reach()])

    @property
    def is_same(self) -> bool:
        """Whether the padding is what TensorFlow calls SAME."""
        for i in range(2):
            total = self.begin[i] + self.end[i]
            if self.outputs[i] != -(-self.sizes[i] // self.strides[i]) or self.begin[i] != total // 2:
                return False
            if total != max((self.outputs[i] - 1) * self.strides[i] + self._span(i) - self.sizes[i], 0):
                return False
        return True

    @property
    def is_valid(self) -> bool:
        """Whether no window reaches outside."""
        return not any(self.begin) and not any(self.end)

    def padded(self, image: Any, value: float = 0.0) -> tuple[str, Any]:
        """TensorFlow's name for the padding and the image to slide over, padded with `value` where it has no name."""
        return ("SAME", image) if self.is_same and not self.is_valid else ("VALID", self.explicit(image, value))

    def explicit(self, image: Any, value: float = 0.0) -> Any:
        """The image with its padding of `value` written out."""
        if self.is_valid:
            return image
        edges = [[0, 0], *([before, after] for before, after in zip(self.begin, self.end, strict=True)), [0, 0]]
        return tf.pad(image, edges, constant_values=value) if value else tf.pad(image, edges)

    def counts(self, *, include_pad: bool) -> np.ndarray[Any, Any]:
        """How many elements each window averages over, (outputs); ONNX never counts what ceil_mode adds."""
        per_axis = []
        for i in range(2):
            starts = np.arange(self.outputs[i]) * self.strides[i] - self.begin[i]
            taps = starts[:, None] + np.arange(self.kernel[i]) * self.dilations[i]
            low, high = (-self.begin[i], self.sizes[i] + self.declared_end[i]) if include_pad else (0, self.sizes[i])
            per_axis.append(((taps >= low) & (taps < high)).sum(axis=1))
        return np.outer(per_axis[0], per_axis[1])

    def _span(self, i: int) -> int:
        return (self.kernel[i] - 1) * self.dilations[i] + 1

    def _reach(self) -> list[int]:
        return [
            (self.outputs[i] - 1) * self.strides[i] + self._span(i) - self.sizes[i] - self.begin[i] for i in range(2)
        ]


def refuse_convolution(node: Node) -> str | None:
    """Why a Conv or ConvTranspose can't be lowered, as a remedy, or None."""
    if len(node.shape()) not in (3, 4):
        return f"Replace the {len(node.shape()) - 2}-D convolution {node.name!r}: edgekit lowers 1-D and 2-D ones."
    if node.constant(1) is None:
        return f"Make the weights of {node.name!r} a constant."
    return None


def as_image(value: Any, rank: int) -> Any:
    """(N, L, C) as an image of height 1; an image as it is."""
    return value if rank == 4 else tf.expand_dims(value, 1)


def from_image(value: Any, rank: int) -> Any:
    """The way back from `as_image`."""
    return value if rank == 4 else tf.squeeze(value, 1)


def _static(sizes: Sequence[int | None]) -> tuple[int, ...]:
    assert None not in sizes, "the Model is not normalised: a spatial size is not known"
    return tuple(size for size in sizes if size is not None)


def _two(values: Sequence[int], filler: int = 1) -> tuple[int, int]:
    return (filler, values[0]) if len(values) == 1 else (values[0], values[1])
