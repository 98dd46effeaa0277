"""Preprocessing: how pixels become the model's input, in arithmetic that a board engineer can repeat.

Every normalisation is affine per channel on pixels of 0..255, `input = pixel × scale + offset`, so one pair of
numbers a channel says all, and one normalisation can be turned into another without going back to the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.digest import digest_json
from edgekit.core.errors import UsageError
from edgekit.core.types import Layout, Preprocess, TensorSpec

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "COLORS", "NORMALIZATIONS", "RESIZES", "ImageShape", "affine", "check", "denormalize", "describe",
    "image_shape", "normalize", "preprocess_digest", "to_input",
]  # fmt: skip

RESIZES = ("stretch", "crop", "letterbox")
COLORS = ("rgb", "bgr")
NORMALIZATIONS = ("none", "0..1", "-1..1", "imagenet")
# Of RGB images scaled to 0..1 (ILSVRC-2012), as every model zoo uses them.
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
_IMAGENET_STD = np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class ImageShape:
    """An image input: height, width and channels (1, 3 or 4), and whether the channels come first."""

    height: int
    width: int
    channels: int
    channels_first: bool


def image_shape(spec: TensorSpec) -> ImageShape | None:
    """The image that the input `spec` takes, or None where it takes no image."""
    if len(spec.shape) != 4 or spec.layout not in (Layout.NHWC, Layout.NCHW):
        return None
    first, second, third = spec.with_batch(1)[1:]
    if spec.layout is Layout.NCHW:
        return ImageShape(second, third, first, channels_first=True)
    return ImageShape(first, second, third, channels_first=False)


def check(preprocess: Preprocess) -> None:
    """Refuse a preprocessing that there is not.

    Raises:
        UsageError: names the field and its choices.
    """
    for field, choices in (("resize", RESIZES), ("color", COLORS), ("normalize", NORMALIZATIONS)):
        value = getattr(preprocess, field)
        if value not in choices:
            raise UsageError(
                f"--{field} {value} is not one of {', '.join(choices)}",
                blame="your command or recipe",
                remedy=f"For example: --{field} {choices[-1]}",
            )


def affine(preprocess: Preprocess, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset per channel, in the input's own channel order: `input = pixel × scale + offset`."""
    ones = np.ones(channels)
    if preprocess.normalize == "0..1":
        return ones / 255, 0 * ones
    if preprocess.normalize == "-1..1":
        return ones / 127.5, -ones
    if preprocess.normalize == "imagenet":
        mean, std = _IMAGENET_MEAN, _IMAGENET_STD
        if preprocess.color == "bgr":
            mean, std = mean[::-1], std[::-1]
        if channels != 3:
            mean, std = ones * mean.mean(), ones * std.mean()
        return 1 / (255 * std), -mean / std
    return ones, 0 * ones


def normalize(pixels: NDArray[Any], preprocess: Preprocess, shape: ImageShape) -> NDArray[np.float32]:
    """Pixels of 0..255 as the model wants them; any leading axes, then the input's own layout."""
    scale, offset = _broadcast(preprocess, shape)
    return np.asarray(pixels * scale + offset, np.float32)


def denormalize(inputs: NDArray[Any], preprocess: Preprocess, shape: ImageShape) -> NDArray[np.float64]:
    """The pixels (0..255) that `normalize` was given."""
    scale, offset = _broadcast(preprocess, shape)
    return np.asarray((inputs.astype(np.float64) - offset) / scale)


def to_input(image: Image, preprocess: Preprocess, shape: ImageShape) -> NDArray[np.float32]:
    """A Pillow image in mode L or RGB(A), upright, as one sample in the input's layout (C×H×W or H×W×C)."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    size = (shape.width, shape.height)
    if preprocess.resize == "crop":
        image = ImageOps.fit(image, size, Pillow.Resampling.BILINEAR)
    elif preprocess.resize == "letterbox":
        image = ImageOps.pad(image, size, Pillow.Resampling.BILINEAR, color=0)
    elif image.size != size:
        image = image.resize(size, Pillow.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(shape.height, shape.width, shape.channels)
    if preprocess.color == "bgr" and shape.channels == 3:
        pixels = pixels[:, :, ::-1]
    if shape.channels_first:
        pixels = pixels.transpose(2, 0, 1)
    return normalize(pixels, preprocess, shape)


def preprocess_digest(preprocess: Preprocess) -> str:
    """SHA-256 of the preprocessing, part of every cache key below it."""
    return digest_json(preprocess)


def describe(preprocess: Preprocess, spec: TensorSpec) -> dict[str, Any]:
    """The content of `preprocess.json`: all that someone on a board needs to feed the input `spec` from a camera.

    `input = (pixel − mean) / std` and `input = pixel × scale + offset` are the same thing; pixels are 0..255 and the
    lists are in the input's channel order. For an input that takes no image the lists are missing.
    """
    about: dict[str, Any] = {"input": spec.name, "shape": list(spec.shape), "layout": spec.layout.value}
    shape = image_shape(spec)
    if shape is None:
        return {**about, "formula": "the values are fed as they are"}
    scale, offset = affine(preprocess, shape.channels)
    return {
        **about,
        "height": shape.height,
        "width": shape.width,
        "channels": shape.channels,
        "color": "gray" if shape.channels == 1 else preprocess.color,
        "resize": preprocess.resize,
        "filter": "bilinear, antialiased",
        "normalize": preprocess.normalize,
        "formula": "input = pixel * scale + offset = (pixel - mean) / std, pixel in 0..255",
        "scale": scale.tolist(),
        "offset": offset.tolist(),
        "mean": (0.0 - offset / scale).tolist(),
        "std": (1 / scale).tolist(),
    }


def _broadcast(preprocess: Preprocess, shape: ImageShape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale, offset = affine(preprocess, shape.channels)
    if shape.channels_first:
        return scale[:, None, None], offset[:, None, None]
    return scale, offset
