"""How much of an artifact travels: its files as a server would send them, compressed with zstd."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.core.types import Artifact
from edgekit.pipeline.store import Store

__all__ = ["download_bytes"]

_LEVEL = 19  # the last one that needs no more memory to unpack than a small board has


def download_bytes(store: Store, artifact: Artifact) -> int:
    """The bytes of the artifact's files, each compressed with zstd (RFC 8878) at level 19.

    The same files give the same count on any machine with the same version of the package.
    """

    def work(_: Path) -> Any:
        from zstandard import ZstdCompressor

        # With threads the stream is cut into jobs of a fixed size: their number changes no byte.
        compressor = ZstdCompressor(level=_LEVEL, threads=-1)
        return sum(len(compressor.compress(file.read_bytes())) for file in artifact.files)

    inputs = {"artifact": artifact.digest, "level": _LEVEL, "zstandard": metadata.version("zstandard")}
    return int(store.make("download", "", inputs, work, quiet=True).value)
