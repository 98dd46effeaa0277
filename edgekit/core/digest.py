"""Content digests: what makes two inputs the same."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgekit.core.plain import to_json

__all__ = ["digest_file", "digest_files", "digest_json", "digest_named", "digest_path", "own_sources"]

_PACKAGE = Path(__file__).resolve().parent.parent


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of several files, in order; for one file the same as `digest_file`."""
    digests = [digest_file(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def digest_named(files: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 over the names and contents of several files, in order."""
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name}\0{digest_file(path)}\n".encode())
    return digest.hexdigest()


def digest_path(path: Path) -> str:
    """SHA-256 of a file's content, or over the relative names and contents of all files below a folder."""
    if not path.is_dir():
        return digest_file(path)
    return digest_named((str(file.relative_to(path)), file) for file in sorted(path.rglob("*")) if file.is_file())


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys, no blanks)."""
    text = json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def own_sources() -> str:
    """A digest of edgekit's own code: what another edgekit left half done, or did, is not taken for this one's."""
    sources = [file for file in sorted(_PACKAGE.rglob("*")) if file.suffix in {".py", ".toml"}]
    return digest_json({str(file.relative_to(_PACKAGE)): digest_file(file) for file in sources})
