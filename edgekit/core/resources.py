"""The one reader of what ships beside the code: target files, the model zoo, the bench script.

In a checkout they keep their own places at the repository's top; in the wheel they lie under `edgekit/_resources`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["resource"]

_PACKAGE = Path(__file__).resolve().parent.parent


def resource(name: str) -> Path:
    """The path of a shipped file or folder, like "targets", "models/digits-cnn" or "scripts/bench_on_device.py"."""
    installed = _PACKAGE / "_resources" / name
    return installed if installed.exists() else _PACKAGE.parent / name
