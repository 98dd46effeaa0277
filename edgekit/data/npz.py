"""Data in an .npz: arrays by name, never a pickle."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.data.arrays import from_arrays
from edgekit.data.objects import OBJECTS
from edgekit.data.sequences import from_sequences
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data

__all__ = ["open_npz"]

_Shape = tuple[int, ...]
# What other tools call the truth.
_LABELS = ("labels", "label", "targets", "target", "classes")


def open_npz(path: str, request: Request) -> Source:
    """The samples of an .npz: `x` or one key an input name, `y` or `y_<output>` (see `from_arrays`).

    For a model with one input, the only array that fits it is taken whatever it is called, and with it what bears one
    of the usual names of labels.

    Raises:
        InvalidInputError: no .npz, truncated, empty, holds Python objects, or not what the model takes.
    """
    try:
        # numpy leaves a file that it opened itself open when it turns out to be none.
        with Path(path).open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise bad_data(f"{path} is a single array, not an .npz", "Save it with np.savez('data.npz', x=…, y=…).")
            renamed = _renamed(_shapes(path), request, path)
            used = {
                "x",
                "y",
                f"y_{OBJECTS}",
                *(spec.name for spec in request.inputs),
                *(f"y_{spec.name}" for spec in request.outputs),
            }
            # An array that nobody asked for is not read, but its name helps the error about one that is missing.
            arrays = {key: file[key] if key in used else np.empty(0) for key in file.files if key not in renamed}
            arrays |= {key: file[old] for old, key in renamed.items()}
    except (OSError, EOFError, ValueError, KeyError, SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error) and zipfile.is_zipfile(path):
            raise bad_data(
                f"{path} holds Python objects: edgekit never unpickles",
                "Save plain arrays of numbers: np.savez('data.npz', x=x.astype('float32'), y=y.astype('int64'))",
            ) from error
        reason = error if zipfile.is_zipfile(path) else "it is none, or cut off"
        raise bad_data(
            f"{path} can't be read as an .npz: {reason}", "Write it again: np.savez('data.npz', x=…, y=…)"
        ) from error
    notes = [f"{path}: the array {old!r} is taken as {key!r}" for old, key in renamed.items()]
    return (from_sequences if request.states else from_arrays)(arrays, request, name=path, notes=notes)


def _shapes(path: str) -> dict[str, _Shape]:
    """The shape of each array, from its header alone."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                major, _ = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shapes[member.removesuffix(".npy")] = read(stream)[0]
    return shapes


def _renamed(shapes: Mapping[str, _Shape], request: Request, path: str) -> dict[str, str]:
    """For a model with one input: which keys stand for `x` and `y`, where the file has no such key.

    Raises:
        InvalidInputError: it can't be told which array the input is.
    """
    spec = request.inputs[0]
    if len(request.inputs) != 1 or not {"x", spec.name}.isdisjoint(shapes):
        return {}
    size = math.prod(spec.with_batch(1)[1:])
    fitting = [key for key, shape in shapes.items() if len(shape) > 1 and math.prod(shape[1:]) == size]
    if len(fitting) != 1:
        held = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items())) or "nothing"
        wanted = ("n", *map(str, spec.with_batch(1)[1:]))
        raise bad_data(
            f"{path} lacks the key 'x': it holds {held}, the model wants ({', '.join(wanted)})",
            "Save the samples as x, and their labels as y:"
            f" python -c \"import numpy as np; d = np.load('{path}'); np.savez('data.npz', x=d['…'], y=d['…'])\"",
        )
    named = {"y", *(f"y_{output.name}" for output in request.outputs)}
    label = next((key for key in _LABELS if key in shapes and key not in fitting), None)
    return {fitting[0]: "x", **({label: "y"} if label and named.isdisjoint(shapes) else {})}
