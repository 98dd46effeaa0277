"""A source out of named arrays: what an .npz, a table and a function all come down to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import Layout, TensorSpec
from edgekit.data.preprocess import image_shape, normalize
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data
from edgekit.data.targets import from_keys

__all__ = ["from_arrays"]

_Shape = Callable[[NDArray[Any]], NDArray[Any]]
_Scale = Callable[[NDArray[Any]], NDArray[Any]]


def from_arrays(
    arrays: Mapping[str, NDArray[Any]],
    request: Request,
    *,
    name: str,
    class_names: tuple[str, ...] = (),
    name_of: Callable[[int], str] = "row {}".format,
    notes: Sequence[str] = (),
) -> Source:
    """Samples from arrays whose first axis counts them.

    Args:
        arrays: `x` for a model with one input, else one key an input name; `y` or `y_<output>` for targets.
        request: what the model takes.
        name: the data argument, for messages.
        class_names: in label order, where known.
        name_of: what the sample at an index is called.
        notes: what was assumed so far.

    An array in the input's shape is taken as it is. Channels in the other place are moved, missing or extra axes of
    size 1 are mended. Numbers are fed as they are unless `preprocess.normalize` asks for a scale: then an image input's
    numbers count as pixels of 0..255, or of 0..1 where none is above 1, and negative ones are refused. An input of
    whole numbers (the tokens of a text) takes whole numbers only.

    Raises:
        InvalidInputError: a missing key, no samples, wrong shapes, NaN, or targets that no output can have.
    """
    by_input = {spec.name: _array_of(arrays, spec, request, name) for spec in request.inputs}
    count = len(next(iter(by_input.values())))
    if count == 0:
        raise bad_data(f"{name} holds no samples", "Give an array whose first axis counts the samples.")
    notes = [*notes]
    prepare: dict[str, tuple[_Shape, _Scale]] = {}
    for spec in request.inputs:
        array = by_input[spec.name]
        if len(array) != count:
            lengths = ", ".join(f"{key} {len(value)}" for key, value in by_input.items())
            raise bad_data(f"{name}: the inputs differ in length ({lengths})", "Give each input as many samples.")
        prepare[spec.name] = _shaper(array, spec, name, notes), _scaler(array, spec, request, notes)

    def read(index: int) -> dict[str, NDArray[Any]]:
        sample = {}
        for key, (shape, scale) in prepare.items():
            sample[key] = scale(shape(by_input[key][index]))
            if not np.isfinite(sample[key]).all():
                raise bad_data(
                    f"{name}: {name_of(index)} of {key!r} holds NaN or infinity",
                    "Remove or repair that sample.",
                )
        return sample

    targets = from_keys(arrays, request.outputs, count=count, name=name) if request.labelled else {}
    return Source(name, [name_of(row) for row in range(count)], read, targets, class_names, tuple(notes))


def _array_of(arrays: Mapping[str, NDArray[Any]], spec: TensorSpec, request: Request, name: str) -> NDArray[Any]:
    """The array for an input, numeric and with a sample axis."""
    alone = len(request.inputs) == 1
    key = spec.name if spec.name in arrays else "x" if alone else spec.name
    if key not in arrays:
        wanted = "x" if alone else ", ".join(repr(i.name) for i in request.inputs)
        held = ", ".join(map(repr, sorted(arrays))) or "nothing"
        raise bad_data(
            f"{name} lacks the key {key!r}: it holds {held}, the model wants {wanted}",
            f"Save it under its name: np.savez('data.npz', {'x=…, y=…' if alone else f'**{{{spec.name!r}: …}}'})",
        )
    array = arrays[key]
    if array.dtype.kind not in "biuf":
        raise bad_data(f"{name}: {key!r} holds {array.dtype} instead of numbers", "Convert it to float32 or uint8.")
    if array.ndim == 0:
        raise bad_data(f"{name}: {key!r} is one number, not samples", "Its first axis must count the samples.")
    return array


def _shaper(array: NDArray[Any], spec: TensorSpec, name: str, notes: list[str]) -> _Shape:
    """From a sample as it is stored to the input's shape.

    Raises:
        InvalidInputError: the shapes can't be brought together without guessing.
    """
    wanted, got = spec.with_batch(1)[1:], array.shape[1:]
    if got == wanted:
        return lambda sample: sample
    moved = {
        Layout.NCHW: ((2, 0, 1), "from last to first"),
        Layout.NHWC: ((1, 2, 0), "from first to last"),
    }.get(spec.layout)
    if moved and len(got) == 3 and tuple(got[axis] for axis in moved[0]) == wanted:
        axes, how = moved
        notes.append(f"{name}: channels of {spec.name!r} moved {how} to fit the model")
        return lambda sample: sample.transpose(axes)
    same_without_ones = [size for size in got if size != 1] == [size for size in wanted if size != 1]
    is_flat = len(got) == 1 and got[0] == math.prod(wanted)
    if same_without_ones or is_flat:
        return lambda sample: sample.reshape(wanted)
    raise bad_data(
        f"{name}: samples for {spec.name!r} have shape {got}, the model wants {wanted}"
        + (f" ({spec.layout.value})" if spec.layout in (Layout.NHWC, Layout.NCHW) else ""),
        "Resize or reshape the array to (n, " + ", ".join(map(str, wanted)) + "), or give a folder of images.",
    )


def _scaler(array: NDArray[Any], spec: TensorSpec, request: Request, notes: list[str]) -> _Scale:
    """From a sample in the input's shape to the numbers that the model wants."""
    shape, wanted = image_shape(spec), request.preprocess.normalize
    if np.dtype(spec.dtype).kind in "iub":
        if not (np.isfinite(array).all() and np.array_equal(array, np.floor(array))):
            raise bad_data(
                f"{spec.name!r} takes whole numbers ({spec.dtype}), its array holds others",
                "Give the numbers that the network was trained on, like the tokens of a text.",
            )
        return lambda sample: sample.astype(spec.dtype)
    if wanted == "none":
        return lambda sample: sample.astype(np.float32)
    if shape is None:
        notes.append(f"{spec.name!r} takes no image: --normalize is not applied to it")
        return lambda sample: sample.astype(np.float32)
    if float(array.min()) < 0:
        raise bad_data(
            f"--normalize {wanted} wants pixels, the array for {spec.name!r} holds negative numbers",
            "It is normalised already: leave out --normalize, or give pixels of 0..255.",
        )
    unit = array.dtype.kind == "f" and float(array.max()) <= 1
    if unit:
        notes.append(f"{spec.name!r} holds values of 0..1: scaled from there to {wanted}")
    factor = 255.0 if unit else 1.0
    return lambda sample: normalize(sample * factor, request.preprocess, shape)
