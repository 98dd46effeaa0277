"""Names of the nodes of a TensorFlow graph: without the calls that they stand in, and behind the layers' own."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from edgekit.formats.layer_names import own_names

__all__ = ["strip_names"]

_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")
# They carry values, and stand in no layer of their own.
_PLUMBING = {"Const", "Identity", "IdentityN", "NoOp", "Placeholder"}


def strip_names(graph_def: Any, keep: Collection[str]) -> tuple[str, ...]:
    """Take calls and the model's own name off the front of node names: "StatefulPartitionedCall/model/conv/Conv2D".

    Args:
        graph_def: a graph without function calls (`GraphDef`); changed in place.
        keep: nodes whose names stay.

    Returns:
        Paths of the layers: whatever stands before the last part of a computing node's name.
    """
    computing = [node for node in graph_def.node if node.op not in _PLUMBING and node.name not in keep]
    plain = [_without_calls(node.name) for node in computing]
    scopes = dict(zip(plain, own_names([name.rpartition("/")[0] for name in plain]), strict=True))
    renamed: dict[str, str] = {}
    taken = {node.name for node in graph_def.node}
    for node, name in zip(computing, plain, strict=True):
        short = f"{scopes[name]}/{name.rpartition('/')[2]}" if scopes[name] else name
        if short not in taken:
            renamed[node.name] = short
            taken.add(short)
    for node in graph_def.node:
        node.name = renamed.get(node.name, node.name)
        node.input[:] = [_renamed(source, renamed) for source in node.input]
    return tuple(dict.fromkeys(scope for scope in scopes.values() if scope))


def _without_calls(name: str) -> str:
    parts = name.split("/")
    while len(parts) > 1 and _CALL.fullmatch(parts[0]):
        parts = parts[1:]
    return "/".join(parts)


def _renamed(source: str, renamed: dict[str, str]) -> str:
    """An input of a node, "name", "name:1" or "^name", under the new names."""
    order, (name, port, index) = source[: source.startswith("^")], source.removeprefix("^").partition(":")
    return f"{order}{renamed.get(name, name)}{port}{index}"
