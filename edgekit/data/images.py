"""Data in a folder of images: class folders, or a flat folder without labels."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.data.preprocess import image_shape, to_input
from edgekit.data.source import Request, Source
from edgekit.data.spec import IMAGE_SUFFIXES, bad_data
from edgekit.data.targets import as_targets, class_count, classifier

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["decode", "open_images"]


def open_images(folder: str, request: Request) -> Source:
    """The images of a folder. Class folders in alphabetical order are the labels; a flat folder is unlabelled.

    Raises:
        InvalidInputError: unreadable, empty, one class only, more classes than the model tells, or a model that
            takes no single image; when a sample is read: an image that can't be decoded, by its name.
    """
    spec = request.inputs[0]
    shape = image_shape(spec)
    if len(request.inputs) != 1 or shape is None or shape.channels not in (1, 3, 4):
        takes = ", ".join(f"{i.name} {i.shape}" for i in request.inputs)
        raise bad_data(f"{folder}: images can't feed this model's inputs ({takes})", "Give an .npz or a CSV.")
    found = _scan(Path(folder))
    targets, notes = _targets(found, request, folder) if request.labelled and found.class_names else ({}, [])
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[shape.channels]
    root = Path(folder)

    def read(index: int) -> dict[str, NDArray[np.float32]]:
        return {spec.name: to_input(decode(root / found.files[index], mode), request.preprocess, shape)}

    names = found.class_names if targets else ()
    return Source(folder, found.files, read, targets, names, (*found.notes, *notes))


def decode(path: Path, mode: str) -> Image:
    """An image file, upright (EXIF), in `mode` ("L", "RGB" or "RGBA") with 8 bits a channel.

    Transparency is dropped, as training pipelines do; 16-bit samples are scaled to 8.

    Raises:
        InvalidInputError: it can't be decoded, or is larger than Pillow takes for sane (179 million pixels).
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path) as file:
                file.load()
                image = ImageOps.exif_transpose(file)
            return _eight_bit(image).convert(mode)
    except Pillow.DecompressionBombError as error:
        raise bad_data(f"{path} is too large to be an image of a data set: {error}", "Remove or shrink it.") from error
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, struct.error, zlib.error) as error:
        raise bad_data(f"{path} can't be decoded: {error}", f"Remove or replace it: rm {path}") from error


def _eight_bit(image: Image) -> Image:
    from PIL import Image as Pillow

    if image.mode == "P":
        # Straight to RGB would lose a palette's transparency with a warning.
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode.startswith("I"):
        return Pillow.fromarray(np.clip(np.asarray(image).astype(np.float64) / 257 + 0.5, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its samples are floating-point numbers, whose range is anybody's guess")
    return image


@dataclass(frozen=True)
class _Found:
    """Image files relative to the folder, sorted by class; `labels` and `class_names` are empty for a flat folder."""

    files: list[str]
    labels: list[int]
    class_names: tuple[str, ...]
    notes: list[str]


def _scan(root: Path) -> _Found:
    try:
        folders = [
            entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith((".", "__"))
        ]
        loose = _images(root.iterdir())
        by_class = {folder.name: _images(folder.rglob("*")) for folder in folders}
    except OSError as error:
        raise bad_data(f"{error.filename or root} can't be read: {error.strerror}", f"chmod -R u+rX {root}") from error
    held = sum(map(len, by_class.values()))
    if not held and not loose:
        kinds = ", ".join(sorted({entry.suffix for entry in root.rglob("*.*")})[:5]) or "nothing"
        raise bad_data(f"{root} holds no image (found: {kinds})", "Give the folder that holds the class folders.")
    if not held:
        return _Found([str(path.relative_to(root)) for path in loose], [], (), [])
    notes = [f"{root}: {len(loose)} images beside the class folders are left out"] if loose else []
    notes += [f"{root}: the class folder {name} is empty" for name, files in by_class.items() if not files]
    files = [str(path.relative_to(root)) for paths in by_class.values() for path in paths]
    labels = [label for label, paths in enumerate(by_class.values()) for _ in paths]
    return _Found(files, labels, tuple(by_class), notes)


def _images(entries: Iterable[Path]) -> list[Path]:
    return [
        p for p in sorted(entries) if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()
    ]


def _targets(found: _Found, request: Request, folder: str) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    classes = len(found.class_names)
    spec = classifier(request.outputs, classes)
    if spec is None:
        return {}, [f"{folder}: the class folders are ignored, no output of the model is a vector of classes"]
    if classes == 1:
        inner = Path(folder, found.class_names[0])
        raise bad_data(
            f"{folder} holds one class folder, {found.class_names[0]}; no metric can tell a good model from a "
            f"constant one",
            f"Give the folder inside: --data {inner}"
            if _holds_classes(found)
            else "Add the other classes, or add --no-labels to judge by agreement with the float model.",
        )
    told = class_count(spec) or 0
    if classes > told:
        raise bad_data(
            f"{folder} holds {classes} class folders, the model's output {spec.name!r} tells {told} classes",
            "Use the data that belongs to this model, or add --no-labels to judge by agreement with the float model.",
        )
    notes = []
    if classes < told:
        notes.append(
            f"{folder}: {classes} class folders for {told} classes: taken in alphabetical order as 0..{classes - 1}"
        )
    if all(name.isdecimal() for name in found.class_names) and list(map(int, found.class_names)) != list(
        range(classes)
    ):
        notes.append(f"{folder}: class folders are labelled in alphabetical order, not by the numbers in their names")
    labels = as_targets(np.array(found.labels), spec, count=len(found.files), name=folder)
    return {spec.name: labels}, notes


def _holds_classes(found: _Found) -> bool:
    """Whether the only class folder holds folders itself: the user is one level too high."""
    return all(len(Path(file).parts) > 2 for file in found.files)
