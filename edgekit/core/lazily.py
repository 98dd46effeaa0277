"""Modules that a library imports along and hardly ever uses, executed when something of them is used."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["import_lazily"]


def import_lazily(*names: str) -> None:
    """From now on an import of these modules, by whomever, is put off until something of them is used.

    For processes of our own: nobody else's should find their imports changed.
    """
    sys.meta_path.insert(0, _Lazily(names))


class _Lazily:
    """Finds what `importlib.machinery.PathFinder` finds, with the standard library's lazy loader before it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in self._names else None
        if spec and spec.loader:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
