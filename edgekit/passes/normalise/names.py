"""Every node has a name of its own, every value too."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["name_nodes"]


def name_nodes(graph: ir.Graph) -> None:
    """Keep the names that are there and unique; the rest become Op_3, after the operator and the node's place."""
    taken: set[str] = set()
    for place, node in enumerate(graph):
        name = node.name or f"{node.op_type}_{place}"
        node.name = next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
        taken.add(node.name)
