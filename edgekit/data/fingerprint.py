"""The digest of a data source's content, for cache keys and manifests. Standard library only: the parent calls it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit.core.digest import digest_file, digest_named
from edgekit.data.spec import SourceKind, bad_data, kind_of

__all__ = ["fingerprint"]


def fingerprint(spec: str) -> str:
    """SHA-256 over what the data argument `spec` names.

    A file counts by its bytes, a folder by the relative names and bytes of its files: moving or touching it changes
    nothing. A `module:function` counts by its name and its module's source; what the function itself reads is not
    seen here, only in the digests of the splits that `materialise` answers.

    Raises:
        InvalidInputError: nothing is there, or it can't be read.
    """
    kind = kind_of(spec)
    try:
        if kind is SourceKind.IMAGES:
            return digest_named((str(path.relative_to(spec)), path) for path in _files(Path(spec)))
        if kind is SourceKind.FUNCTION:
            return digest_named([(spec, _module_file(spec))])
        return digest_file(Path(spec))
    except OSError as error:
        raise bad_data(
            f"{error.filename or spec} can't be read: {error.strerror or error}",
            f"Make it readable: chmod -R u+rX {spec}",
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, sorted, hidden ones left out."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def _module_file(spec: str) -> Path:
    """The source of the module of `module:function`, found as an import from the current folder would, not imported."""
    module = spec.partition(":")[0].replace(".", "/")
    for root in (Path.cwd(), *map(Path, sys.path)):
        for candidate in (root / f"{module}.py", root / module / "__init__.py"):
            if candidate.is_file():
                return candidate
    raise bad_data(
        f"{spec} names neither a file nor a module that can be found from {Path.cwd()}",
        f"Run from the folder that holds {module.split('/')[0]}.py, or give a path to data.",
    )
