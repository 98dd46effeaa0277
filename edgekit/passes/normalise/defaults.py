"""Attributes that onnx itself forgets when they have their default: its shape inference fails without them."""

from __future__ import annotations

import onnx

__all__ = ["write_defaults"]

_FORGOTTEN = {"MeanVarianceNormalization": {"axes": [0, 2, 3]}}


def write_defaults(graph: onnx.GraphProto) -> None:
    """Write such defaults into the nodes of `graph`."""
    for node in graph.node:
        present = {attribute.name for attribute in node.attribute}
        for name, value in _FORGOTTEN.get(node.op_type, {}).items():
            if name not in present and not node.domain:
                node.attribute.append(onnx.helper.make_attribute(name, value))
