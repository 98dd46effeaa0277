"""Node names that a Keras user knows: the first node of a layer is called like the layer, the others `layer/Op`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import onnx
import onnx_ir as ir

__all__ = ["name_after_layers", "own_names", "unique_names"]

# A layer is known by what it computes, not by the change of layout in front of it.
_PLUMBING = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten"}


def name_after_layers(model: ir.Model, layers: Collection[str]) -> None:
    """Rename nodes, intermediate values and weights of `model` after the layers that they belong to.

    Args:
        model: its node names begin with the path of their layer; nodes that a converter added have the layer of their
            weights, or else of the node before them.
        layers: paths of the layers, like "conv1" or "encoder/conv1".
    """
    owners = _owners(model.graph, set(layers))
    taken: set[str] = set()
    firsts = {path: _first([node for node, owner in owners.items() if owner == path]) for path in owners.values()}
    for path, node in firsts.items():
        node.name = path
        taken.add(path)
    for node, path in owners.items():
        if node is not firsts[path]:
            node.name = _unique(f"{path}/{node.op_type}", taken)
    _name_values(model.graph)


def unique_names(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """The names, with _1, _2, … behind those that came before or are `taken`."""
    found: list[str] = []
    for name in names:
        candidates = [name, *(f"{name}_{i}" for i in range(1, len(names) + len(taken) + 1))]
        found.append(next(c for c in candidates if c not in taken and c not in found))
    return found


def own_names(layers: list[str]) -> list[str]:
    """The paths as the model has them: without its own name in front, and without the number of a second trace.

    TensorFlow calls what is traced again "model_1/conv_1", a layer called conv_1 "model_1/conv_1_1".

    Args:
        layers: paths in a TensorFlow graph; "" stands for no layer.
    """
    roots = {layer.partition("/")[0] for layer in layers if layer}
    if len(roots) != 1 or not any("/" in layer for layer in layers):
        return layers
    inner = [layer.partition("/")[2] for layer in layers]
    number = re.search(r"_\d+$", roots.pop())
    firsts = {path.partition("/")[0] for path in inner if path}
    if number is None or not all(name.endswith(number[0]) for name in firsts):
        return inner
    return ["/".join(name.removesuffix(number[0]) for name in path.split("/")) for path in inner]


def _owners(graph: ir.Graph, layers: set[str]) -> dict[ir.Node, str]:
    owners: dict[ir.Node, str] = {}
    for node in graph:
        names = [node.name, *(value.name for value in node.inputs if value is not None and value.is_initializer())]
        known = (_layer_of(name or "", layers) for name in names)
        before = (_before(value, owners) for value in node.inputs if value is not None)
        owners[node] = next((p for p in (*known, *before) if p), node.op_type)
    return owners


def _layer_of(name: str, layers: set[str]) -> str:
    """The longest path in `layers` that `name` begins with, or ""."""
    parts = name.split(":", maxsplit=1)[0].split("/")
    paths = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((path for path in paths if path in layers), "")


def _before(value: ir.Value, owners: dict[ir.Node, str]) -> str:
    producer = value.producer()
    return owners[producer] if producer is not None else (value.name or "") if value.is_graph_input() else ""


def _first(nodes: list[ir.Node]) -> ir.Node:
    return next((node for node in nodes if node.op_type not in _PLUMBING), nodes[0])


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate)
    return candidate


def _name_values(graph: ir.Graph) -> None:
    """Intermediate values are called `node:0`, weights `node/W` after the operator's own name for that input."""
    taken = {value.name or "" for value in (*graph.inputs, *graph.outputs)}
    named: set[ir.Value] = set()
    for node in graph:
        for i, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = _unique(f"{node.name}:{i}", taken)
        roles = [role.name for role in onnx.defs.get_schema(node.op_type, graph.opset_imports[""]).inputs]
        for i, weight in enumerate(node.inputs):
            if weight is not None and weight.is_initializer() and weight not in named and not weight.is_graph_output():
                role = roles[min(i, len(roles) - 1)]
                weight.name = _unique(f"{node.name}/{role}", taken)
                named.add(weight)
