"""The CIFAR-10 photographs of the acceptance data."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["photographs", "shared_data"]

Array = np.ndarray[Any, Any]


def shared_data() -> Path:
    """The folder with the acceptance data."""
    return Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"])


def photographs(name: str) -> tuple[Array, Array]:
    """The images (n, 32, 32, 3) of the archive "train20k" or "test5k" as bytes, and their classes (n,)."""
    with tarfile.open(shared_data() / f"cifar10_jpeg_{name}.tar.gz") as archive:
        members = sorted((each for each in archive if each.name.endswith(".jpg")), key=lambda each: each.name)
        images = [np.asarray(Image.open(archive.extractfile(each)).convert("RGB")) for each in members]  # type: ignore[arg-type]
    folders = [PurePath(each.name).parent.name for each in members]
    classes = sorted(set(folders))
    return np.stack(images), np.array([classes.index(folder) for folder in folders])
