"""The one way to open data, whatever form it has."""

from __future__ import annotations

from edgekit.data.source import Request, Source
from edgekit.data.spec import SourceKind, bad_data, kind_of

__all__ = ["open_source"]


def open_source(spec: str, request: Request) -> Source:
    """Open what the data argument `spec` names.

    Raises:
        InvalidInputError: it is missing, unreadable, malformed, or not what the model takes.
    """
    # Each form is imported when it is asked for: Pillow is not needed to read a table.
    kind = kind_of(spec)
    if request.states and kind in (SourceKind.IMAGES, SourceKind.CSV):
        raise bad_data(
            f"{spec} holds single samples, and a model with state takes sequences",
            "Give an .npz whose arrays are (sequences, steps, …): see docs/sequences.md.",
        )
    if kind is SourceKind.IMAGES:
        from edgekit.data.images import open_images

        return open_images(spec, request)
    if kind is SourceKind.NPZ:
        from edgekit.data.npz import open_npz

        return open_npz(spec, request)
    if kind is SourceKind.CSV:
        from edgekit.data.table import open_table

        return open_table(spec, request)
    from edgekit.data.function import open_function

    return open_function(spec, request)
