"""Importers: from a model file to a Model, checked against the source framework's own answer. One importer a file."""

from edgekit.formats.detection import detect

__all__ = ["detect"]
