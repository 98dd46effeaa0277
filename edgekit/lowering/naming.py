"""Which TensorFlow name scope, and so which prefix of TFLite tensor names, a layer of the Model gets."""

from __future__ import annotations

import re

from edgekit.ir import Model

__all__ = ["legal_name", "scope_names"]

_ILLEGAL = re.compile(r"[^A-Za-z0-9_.\-/]")


def scope_names(model: Model) -> dict[str, str]:
    """The scope of each node by node name: the name itself where TensorFlow takes it, and always unique."""
    scopes: dict[str, str] = {}
    taken: set[str] = set()
    for node in model.graph:
        assert node.name is not None
        scope = base = legal_name(node.name)
        number = 0
        while scope.lower() in taken:  # TensorFlow compares scopes without case
            number += 1
            scope = f"{base}_{number}"
        taken.add(scope.lower())
        scopes[node.name] = scope
    return scopes


def legal_name(name: str) -> str:
    """`name` with what TensorFlow takes in the name of a scope or a variable, which is not unique then."""
    scope = re.sub(r"/+", "/", _ILLEGAL.sub("_", name)).strip("/")
    return scope if scope[:1].isalnum() else f"layer_{scope.lstrip('_.-')}"
