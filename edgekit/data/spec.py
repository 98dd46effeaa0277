"""What a data argument names: a folder of images, an .npz, a CSV, or `module:function`. Standard library only."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from edgekit.core.errors import InvalidInputError

__all__ = ["IMAGE_SUFFIXES", "NO_LABELS", "SourceKind", "bad_data", "kind_of"]

NO_LABELS = "Add --no-labels to judge by agreement with the float model instead."

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
_TABLES = frozenset({".csv", ".tsv", ".txt"})
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_FORMS = "a folder of images, an .npz, a .csv, or module:function"


class SourceKind(StrEnum):
    """How samples are stored."""

    IMAGES = "images"
    NPZ = "npz"
    CSV = "csv"
    FUNCTION = "function"


def bad_data(cause: str, remedy: str) -> InvalidInputError:
    """The error about something that is wrong with the user's data."""
    return InvalidInputError(cause, blame="your data", remedy=remedy)


def kind_of(spec: str) -> SourceKind:
    """How the data that `spec` names is stored; looks at the name and at what lies there, reads no content.

    Raises:
        InvalidInputError: nothing is there, or it is none of the known forms.
    """
    path = Path(spec)
    if path.is_dir():
        return SourceKind.IMAGES
    if path.is_file():
        return _kind_of_file(path)
    if _FUNCTION.fullmatch(spec):
        return SourceKind.FUNCTION
    raise bad_data(f"there is no {spec}", f"Give {_FORMS}; a relative path starts at {Path.cwd()}.")


def _kind_of_file(path: Path) -> SourceKind:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return SourceKind.NPZ
    if suffix in _TABLES:
        return SourceKind.CSV
    if suffix == ".npy":
        raise bad_data(
            f"{path} holds one array without a name",
            f"Name it: python -c \"import numpy as np; np.savez('data.npz', x=np.load('{path}'))\"",
        )
    if path.name.lower().endswith(_ARCHIVES):
        raise bad_data(f"{path} is an archive", "Unpack it and give the folder that holds the class folders.")
    if suffix in IMAGE_SUFFIXES:
        raise bad_data(f"{path} is one image", f"Give the folder: --data {path.parent}")
    raise bad_data(f"{path} is no data that edgekit reads", f"Give {_FORMS}.")
