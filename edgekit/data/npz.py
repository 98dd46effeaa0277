"""Data in an .npz: arrays by name, never a pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from edgekit.data.arrays import from_arrays
from edgekit.data.sequences import from_sequences
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data

__all__ = ["open_npz"]


def open_npz(path: str, request: Request) -> Source:
    """The samples of an .npz: `x` or one key an input name, `y` or `y_<output>` (see `from_arrays`).

    Raises:
        InvalidInputError: no .npz, truncated, empty, holds Python objects, or not what the model takes.
    """
    try:
        # numpy leaves a file that it opened itself open when it turns out to be none.
        with Path(path).open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise bad_data(f"{path} is a single array, not an .npz", "Save it with np.savez('data.npz', x=…, y=…).")
            used = {"x", "y", *(spec.name for spec in request.inputs), *(f"y_{spec.name}" for spec in request.outputs)}
            # An array that nobody asked for is not read, but its name helps the error about one that is missing.
            arrays = {key: file[key] if key in used else np.empty(0) for key in file.files}
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
    return (from_sequences if request.states else from_arrays)(arrays, request, name=path)
