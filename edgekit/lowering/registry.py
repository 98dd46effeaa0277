"""The table of lowerings: `@lowers("Conv")` adds one; `unsupported` says what of a Model has none.

A lowering is a function `(node, *inputs) -> Laid` (or a tuple of them). An input that the entry names in `constants`
must be known when the graph is built and comes as a numpy array; any other comes as a `Laid` tensor; an absent optional
one is None.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgekit.core.errors import UnsupportedOpError
from edgekit.ir import Model
from edgekit.lowering.node import Node

__all__ = ["Entry", "Unsupported", "entry", "lowers", "operators", "require_supported", "unsupported"]

Lowering = Callable[..., Any]
Refusal = Callable[[Node], str | None]


@dataclass(frozen=True)
class Entry:
    """How an op type is lowered.

    Attributes:
        lower: emits TensorFlow.
        constants: positions of the inputs that must be constants.
        frozen: positions of the weights that training does not change.
        refuse: why this node can't be lowered, as a remedy, or None.
    """

    lower: Lowering
    constants: tuple[int, ...]
    frozen: tuple[int, ...]
    refuse: Refusal


class Unsupported(NamedTuple):
    """A node that can't be lowered, and what to do about it."""

    layer: str
    op: str
    remedy: str


_ENTRIES: dict[str, Entry] = {}


def lowers(
    *ops: str,
    constants: tuple[int, ...] = (),
    frozen: tuple[int, ...] = (),
    refuse: Refusal = lambda _node: None,
) -> Callable[[Lowering], Lowering]:
    """Register the decorated function as the lowering of the op types `ops`; see `Entry` for the arguments."""

    def register(function: Lowering) -> Lowering:
        for op in ops:
            if op in _ENTRIES:
                raise ValueError(f"{op} has a lowering already: {_ENTRIES[op].lower.__module__}")
            _ENTRIES[op] = Entry(function, constants, frozen, refuse)
        return function

    return register


def entry(node: Node) -> Entry:
    """The entry for a node that `unsupported` did not name."""
    return _table()[node.op]


def unsupported(model: Model) -> list[Unsupported]:
    """The nodes of `model` that have no lowering, in order. Imports no TensorFlow."""
    found = []
    for node in map(Node, model.graph):
        remedy = _refusal(node)
        if remedy is not None:
            found.append(Unsupported(node.name, node.op, remedy))
    return found


def operators() -> dict[str, str]:
    """Each op type that has a lowering, and the first line of what its lowering says about itself."""
    return {op: (found.lower.__doc__ or "").splitlines()[0] for op, found in _table().items()}


def require_supported(model: Model) -> None:
    """Refuse a model that can't be lowered.

    Raises:
        UnsupportedOpError: names each layer, its op, and the remedy for the first.
    """
    found = unsupported(model)
    if found:
        layers = ", ".join(f"{item.op} (layer {item.layer!r})" for item in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UnsupportedOpError(
            f"there is no TensorFlow lowering for {layers}{more}", blame="your model", remedy=found[0].remedy
        )


def _refusal(node: Node) -> str | None:
    table = _table()
    if node.op not in table:
        return f"Replace {node.op} in the source network, or choose a target with another back end: edgekit targets"
    found = table[node.op]
    for index in found.constants:
        if node.has(index) and node.constant(index) is None:
            return f"Make input {index} of {node.name!r} a constant: edgekit lowers {node.op} only with a fixed one."
    return found.refuse(node)


def _table() -> dict[str, Entry]:
    """All entries; the op files register themselves when they are imported."""
    from edgekit.lowering import ops

    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _ENTRIES
