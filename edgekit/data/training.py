"""The training split: on disk and not in memory, images as the bytes that they came as."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import TensorSpec
from edgekit.data.preprocess import affine, denormalize, image_shape, normalize
from edgekit.data.source import Request, Source
from edgekit.passes.recover.samples import write_samples

__all__ = ["sample_bytes", "write_training"]

_CHUNK = 64


class _NoPixelsError(Exception):
    """An image input gets other numbers than normalised bytes."""


def write_training(
    folder: Path, source: Source, indices: NDArray[np.int64], request: Request, said: Callable[[int], None]
) -> None:
    """Write samples and targets as `edgekit.passes.recover.samples.Samples.open` reads them.

    Args:
        folder: an existing one.
        source: read for one input after the other, so that no more than a few samples are in memory.
        indices: of the samples.
        request: the inputs that they are for.
        said: called now and then with how many of them are done.
    """
    images = [spec for spec in request.inputs if image_shape(spec)]
    try:
        _write(folder, source, indices, _Form(request, said, images))
    except _NoPixelsError:
        _write(folder, source, indices, _Form(request, said, ()))


def sample_bytes(inputs: Sequence[TensorSpec]) -> int:
    """What a sample of these inputs takes on disk, at most."""
    return sum(np.dtype(spec.dtype).itemsize * math.prod(spec.with_batch(1)[1:]) for spec in inputs)


@dataclass(frozen=True)
class _Form:
    """How samples are written: those of `images` as bytes."""

    request: Request
    said: Callable[[int], None]
    images: Sequence[TensorSpec]


def _write(folder: Path, source: Source, indices: NDArray[np.int64], form: _Form) -> None:
    request = form.request

    def parts(place: int, spec: TensorSpec) -> Iterator[NDArray[Any]]:
        for begin in range(0, len(indices), _CHUNK):
            form.said((place * len(indices) + begin) // len(request.inputs))
            rows = indices[begin : begin + _CHUNK]
            values = np.stack([source.read(int(index))[spec.name] for index in rows])
            yield _pixels(values, spec, request) if spec in form.images else values

    inputs = {spec.name: parts(place, spec) for place, spec in enumerate(request.inputs)}
    affines = {spec.name: affine(request.preprocess, _channels(spec)) for spec in form.images}
    write_samples(folder, len(indices), inputs, source.targets_of(indices), affines)


def _pixels(values: NDArray[Any], spec: TensorSpec, request: Request) -> NDArray[np.uint8]:
    """The bytes that `values`, (n, …), were normalised from."""
    shape = image_shape(spec)
    assert shape is not None
    pixels = np.clip(np.rint(denormalize(values, request.preprocess, shape)), 0, 255).astype(np.uint8)
    if not np.array_equal(normalize(pixels, request.preprocess, shape), values):
        raise _NoPixelsError
    return pixels


def _channels(spec: TensorSpec) -> int:
    shape = image_shape(spec)
    assert shape is not None
    return shape.channels
