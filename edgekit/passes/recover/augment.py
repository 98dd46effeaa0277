"""Augmentation: random changes of a batch that leave what it means. Vectorised numpy on whatever type it comes in.

Each function takes (n, H, W, C) images and a generator, and gives images of the same shape and type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.core.types import Layout, TensorSpec
from edgekit.passes.recover.settings import Augment

__all__ = ["augmented", "default_augment", "mixup"]

Array = np.ndarray[Any, Any]
_REACH = 8  # shifts go to 1/8 of an image's sides
_NOISE = 0.02  # of the range of the values, as the standard deviation
_SMALLEST = 0.8  # of the sides, what a crop keeps at least
_MIXUP = 0.2  # of the beta distribution (Zhang et al., 2018, arXiv:1710.09412)


def default_augment(inputs: Sequence[TensorSpec]) -> tuple[Augment, ...]:
    """Flip and shift where every input is an image, else nothing."""
    return (Augment.FLIP, Augment.SHIFT) if all(_is_image(spec) for spec in inputs) else ()


def augmented(
    inputs: Mapping[str, Array], specs: Sequence[TensorSpec], changes: Sequence[Augment], random: np.random.Generator
) -> dict[str, Array]:
    """A batch with the `changes` in their order; what is no image only takes noise.

    Args:
        inputs: (n, …) an input name, in the layout that its spec says.
        specs: the inputs.
        changes: mixup is left to `mixup`.
        random: where chance comes from.
    """
    result = dict(inputs)
    for spec in specs:
        batch = result[spec.name]
        first = spec.layout is Layout.NCHW
        if _is_image(spec) and first:
            batch = batch.transpose(0, 2, 3, 1)
        for change in changes:
            if change is Augment.NOISE or (change in _IMAGES and _is_image(spec)):
                batch = noise(batch, random) if change is Augment.NOISE else _IMAGES[change](batch, random)
        result[spec.name] = np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if _is_image(spec) and first else batch)
    return result


def flip(images: Array, random: np.random.Generator) -> Array:
    """Left and right change places, in half of the images."""
    chosen = random.random(len(images)) < 0.5
    result = images.copy()
    result[chosen] = images[chosen, :, ::-1]
    return result


def shift(images: Array, random: np.random.Generator) -> Array:
    """Moved by up to an eighth of the sides; what comes in is the mirror image of what is next to it."""
    count, height, width = images.shape[:3]
    down, right = max(height // _REACH, 1), max(width // _REACH, 1)
    padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), "symmetric")
    tops, lefts = random.integers(0, 2 * down + 1, count), random.integers(0, 2 * right + 1, count)
    return _windows(padded, tops, lefts, height, width)


def crop(images: Array, random: np.random.Generator) -> Array:
    """A window of 0.8 to 1 of the sides, enlarged to the whole by its nearest pixels."""
    count, height, width = images.shape[:3]
    scale = random.uniform(_SMALLEST, 1, count)
    rows = _zoomed(height, scale, random.random(count))
    columns = _zoomed(width, scale, random.random(count))
    chosen: Array = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return chosen


def noise(values: Array, random: np.random.Generator) -> Array:
    """Normal noise of 2 % of the range of the batch's values."""
    low, high = float(values.min()), float(values.max())
    changed = values + np.float32(_NOISE * (high - low)) * random.standard_normal(values.shape, np.float32)
    if values.dtype == np.uint8:
        return np.asarray(np.clip(np.rint(changed), 0, 255), np.uint8)
    return np.asarray(changed, values.dtype)


def mixup(
    inputs: Mapping[str, Array], targets: Mapping[str, Array], random: np.random.Generator
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Each sample with a share of another one, and its float targets likewise; the share is the batch's."""
    share = np.float32(random.beta(_MIXUP, _MIXUP))
    order = random.permutation(len(next(iter(inputs.values()))))

    def mix(values: Array) -> Array:
        return np.asarray(share * values + (1 - share) * values[order], np.float32)

    return {name: mix(values) for name, values in inputs.items()}, {
        name: mix(values) for name, values in targets.items()
    }


def _windows(padded: Array, tops: Array, lefts: Array, height: int, width: int) -> Array:
    view: Array = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    return np.ascontiguousarray(view[np.arange(len(padded)), tops, lefts].transpose(0, 2, 3, 1))


def _zoomed(size: int, scale: Array, place: Array) -> Array:
    """For each sample and pixel, the pixel that it comes from: (n, size)."""
    begin = place * (1 - scale) * size
    at = begin[:, None] + (np.arange(size) + 0.5) * scale[:, None]
    nearest: Array = np.minimum(at.astype(np.int64), size - 1)
    return nearest


def _is_image(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and spec.layout in (Layout.NHWC, Layout.NCHW)


_IMAGES = {Augment.FLIP: flip, Augment.SHIFT: shift, Augment.CROP: crop}
