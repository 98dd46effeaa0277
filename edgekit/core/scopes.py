"""Names that TensorFlow takes for a scope: what a layer is called in a .tflite file."""

from __future__ import annotations

import re

__all__ = ["legal_name"]

_ILLEGAL = re.compile(r"[^A-Za-z0-9_.\-/]")


def legal_name(name: str) -> str:
    """`name` with what TensorFlow takes in the name of a scope or a variable, which is not unique then."""
    scope = re.sub(r"/+", "/", _ILLEGAL.sub("_", name)).strip("/")
    return scope if scope[:1].isalnum() else f"layer_{scope.lstrip('_.-')}"
