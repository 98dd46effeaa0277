"""Training samples: arrays in memory or on disk. Images stay bytes, and become numbers where they are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.types import TensorSpec

__all__ = ["Samples", "write_rows", "write_samples"]

Array = np.ndarray[Any, Any]
_CHUNK = 4096


@dataclass(frozen=True)
class Samples:
    """Samples of a Model's inputs, and targets of its outputs.

    Attributes:
        inputs: (n, …) an input name, in the Model's own layout; uint8 pixels where `affine` says what they mean.
        targets: an output name: int64 classes (n,), uint8 label maps (n, H, W) with 255 for what does not count, or
            float32 values (n, …). Empty without labels.
        affine: an input name: (scale, offset), each (channels,); input = pixel × scale + offset.
    """

    inputs: Mapping[str, Array]
    targets: Mapping[str, Array] = field(default_factory=dict)
    affine: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)

    def __len__(self) -> int:
        return min((len(array) for array in self.inputs.values()), default=0)

    def unlabelled(self) -> Samples:
        """The same samples without targets."""
        return Samples(self.inputs, {}, self.affine)

    def take(self, rows: Any) -> Samples:
        """Some of the samples, by a slice or by indices."""
        return Samples(
            {name: np.ascontiguousarray(array[rows]) for name, array in self.inputs.items()},
            {name: np.ascontiguousarray(array[rows]) for name, array in self.targets.items()},
            self.affine,
        )

    def feeds(self, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
        """The inputs as the Model takes them: pixels become numbers."""
        return {spec.name: self._numbers(spec) for spec in specs}

    def _numbers(self, spec: TensorSpec) -> Array:
        array = self.inputs[spec.name]
        if spec.name not in self.affine:
            return np.asarray(array, spec.dtype)
        axis = -1 if spec.layout != "NCHW" else 1
        shape = [1] * array.ndim
        shape[axis] = -1
        scale, offset = (np.asarray(each, np.float32).reshape(shape) for each in self.affine[spec.name])
        return np.asarray(array * scale + offset, np.float32)

    def save(self, folder: Path) -> None:
        """Write the samples to an existing folder, so that `open` need not read them."""
        inputs = {name: _chunks(array) for name, array in self.inputs.items()}
        write_samples(folder, len(self), inputs, self.targets, self.affine)

    @classmethod
    def open(cls, folder: Path) -> Samples:
        """What `save` wrote, mapped into memory: only the rows that are used are read."""
        about = json.loads((folder / "samples.json").read_text())
        arrays = {
            kind: {name: np.load(folder / f"{kind}-{place}.npy", mmap_mode="r") for place, name in enumerate(names)}
            for kind, names in (("inputs", about["inputs"]), ("targets", about["targets"]))
        }
        affine = {
            name: (np.array(pair[0], np.float32), np.array(pair[1], np.float32))
            for name, pair in about["affine"].items()
        }
        return cls(arrays["inputs"], arrays["targets"], affine)

    @property
    def digest(self) -> str:
        """SHA-256 over everything in it."""
        found = hashlib.sha256()
        for arrays in (self.inputs, self.targets):
            for name, array in sorted(arrays.items()):
                found.update(f"{name} {array.dtype} {array.shape}\0".encode())
                for begin in range(0, len(array), _CHUNK):
                    found.update(np.ascontiguousarray(array[begin : begin + _CHUNK]).data)
        for name, pair in sorted(self.affine.items()):
            found.update(f"{name} {[np.asarray(each).tolist() for each in pair]}\0".encode())
        return found.hexdigest()


def write_samples(
    folder: Path,
    rows: int,
    inputs: Mapping[str, Iterable[Array]],
    targets: Mapping[str, Array],
    affine: Mapping[str, tuple[Array, Array]],
) -> None:
    """Write `rows` samples for `Samples.open` to an existing folder, one .npy an array.

    Args:
        folder: where.
        rows: how many.
        inputs: for each name arrays (some, …) that together are the samples.
        targets, affine: as in `Samples`.
    """
    for place, parts in enumerate(inputs.values()):
        write_rows(folder / f"inputs-{place}.npy", parts, rows)
    for place, array in enumerate(targets.values()):
        write_rows(folder / f"targets-{place}.npy", _chunks(array), rows)
    pairs = {name: [np.asarray(each).tolist() for each in pair] for name, pair in affine.items()}
    (folder / "samples.json").write_text(
        json.dumps({"inputs": list(inputs), "targets": list(targets), "affine": pairs})
    )


def _chunks(array: Array) -> Iterator[Array]:
    return (array[begin : begin + _CHUNK] for begin in range(0, len(array), _CHUNK))


def write_rows(path: Path, parts: Any, rows: int) -> Array:
    """Write the arrays `parts`, (some, …) each, as one .npy of `rows` rows; mapped into memory for reading.

    They are appended to a plain file, not written through a map: a full disk is then an error, and no bus error.

    Raises:
        OSError: the disk is full; nothing of it is left there.
    """
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("wb") as stream:
            for begun, part in enumerate(parts):
                if not begun:
                    shape = (rows, *part.shape[1:])
                    header = {"descr": np.lib.format.dtype_to_descr(part.dtype), "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(np.ascontiguousarray(part).data)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    mapped: Array = np.load(path, mmap_mode="r")
    return mapped
