"""Which format a model really has, from its first bytes: no ML package, nothing of the file is executed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgekit.core.errors import InvalidInputError
from edgekit.formats import foreign
from edgekit.formats.sizes import MAX_BYTES

__all__ = ["READABLE", "detect"]

READABLE = ".keras, .h5, .hdf5, .onnx or .tflite file, or a SavedModel folder"
_FORMATS = {".keras": "keras", ".h5": "h5", ".hdf5": "h5", ".onnx": "onnx", ".tflite": "tflite"}
_NAMES = {
    "keras": "a Keras archive",
    "h5": "an HDF5 file",
    "onnx": "an ONNX model",
    "tflite": "a TFLite model",
}
_RE_EXPORT = "Save it again with the tool that made it."
_HEAD_BYTES = 16
_GRAPH_FIELD = 7


def detect(path: Path) -> str:
    """The format of the model at `path`: "keras", "h5", "onnx", "tflite", or "savedmodel" for a folder.

    Raises:
        InvalidInputError: the model is missing, empty, unreadable, damaged, of a format that edgekit doesn't read, or
            its name promises another format than its content has.
    """
    if not path.exists():
        raise _error(f"there is no file {path}", "Check the path.")
    if path.is_dir():
        return _folder_format(path)
    head = _head(path)
    found = _format(path, head)
    promised = _FORMATS.get(path.suffix.lower())
    if found is None:
        what = f"not {_NAMES[promised]}, or a damaged one" if promised else "in no format that edgekit knows"
        raise _error(f"{path} is {what}", f"{_RE_EXPORT} edgekit reads a {READABLE}.")
    if found != promised:
        suffix = next(suffix for suffix, name in _FORMATS.items() if name == found)
        raise _error(
            f"{path} is {_NAMES[found]}, but its name says otherwise",
            f"Give it its right name:\n    mv {path} {path.with_suffix(suffix)}",
        )
    return found


def _error(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your model file", remedy=remedy)


def _folder_format(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        _check_files(path)
        return "savedmodel"
    raise foreign.folder_error(path)


def _check_files(path: Path) -> None:
    """A folder is read whole: its files lie in it, and together they are of a size that can be held."""
    folder, total = path.resolve(), 0
    for file in path.rglob("*"):
        target = file.resolve()
        if not target.is_relative_to(folder):
            raise _error(
                f"{path} keeps {file.relative_to(path)} outside its own folder: {target}",
                f"Copy it with the files that its links name, and give the copy:\n    cp -rL {path} copy",
            )
        total += file.stat().st_size if file.is_file() else 0
    if total > MAX_BYTES:
        raise _error(
            f"{path} holds {total >> 20} MiB; edgekit takes {MAX_BYTES >> 20} MiB at most",
            "Take out of the folder what is no part of the model.",
        )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise _error(f"{path} can't be read: {error.strerror}", f"Run: chmod u+r {path}") from error
    if not head:
        raise _error(f"{path} is empty (0 bytes)", "Copy it again: the transfer was probably cut off.")
    return head


def _format(path: Path, head: bytes) -> str | None:
    """The format by content, or None for an unknown one; formats that we know and don't read are errors."""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise foreign.pickle_error(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise foreign.safetensors_error(path)
    if path.suffix.lower() in (".pb", ".pbtxt"):
        raise foreign.graph_error(path)
    return "onnx" if _is_onnx(path) else None


def _zip_format(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _error(f"{path} is a damaged or truncated archive: {error}", _RE_EXPORT) from error
    foreign.refuse_torch_archive(path, names)
    return "keras" if "config.json" in names else None


def _is_onnx(path: Path) -> bool:
    """Whether the file is a protobuf message from end to end, with the field that holds an ONNX graph."""
    with path.open("rb") as stream:
        try:
            return _GRAPH_FIELD in set(_fields(stream, path.stat().st_size))
        except ValueError:
            return False


def _fields(stream: BinaryIO, size: int) -> Iterator[int]:
    """Numbers of the top-level protobuf fields; contents are skipped, not read."""
    while stream.tell() < size:
        tag = _varint(stream)
        if tag & 7 == 0:
            _varint(stream)
        elif tag & 7 == 2:
            stream.seek(_varint(stream), 1)
        else:
            raise ValueError("a wire type that ONNX's model message does not use")
        if stream.tell() > size:
            raise ValueError("truncated")
        yield tag >> 3


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("truncated")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a varint that does not end")
