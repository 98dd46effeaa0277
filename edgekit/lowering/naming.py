"""Which TensorFlow name scope, and so which prefix of TFLite tensor names, a layer of the Model gets."""

from __future__ import annotations

from edgekit.core.scopes import legal_name
from edgekit.ir import Model

__all__ = ["scope_names"]


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
