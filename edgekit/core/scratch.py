"""Temporary folders that stay behind nobody: what a killed process leaves, the next one removes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["scratch"]

_PREFIX = "edgekit-work-"
_SURELY_HELD_SECONDS = 60.0  # after which a folder's maker has its lock on it


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder for this block; those of makers that were killed are removed first."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name, _held(Path(name)):
        yield Path(name)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        # Some are gone in the meantime, others are another user's.
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _SURELY_HELD_SECONDS:
                with _held(folder):
                    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder's lock is ours in this block, and free when we are dead.

    Raises:
        OSError: somebody else has it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
