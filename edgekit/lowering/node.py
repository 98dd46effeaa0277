"""A node of the Model as the lowerings read it: attributes with defaults, static shapes, constants as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = ["Node", "Shape"]

Shape = tuple[int | None, ...]


class Node:
    """A read-only view of one ONNX node. The symbolic batch reads as `None` in shapes."""

    def __init__(self, node: ir.Node) -> None:
        self._node = node

    @property
    def name(self) -> str:
        """The layer's name."""
        return self._node.name or ""

    @property
    def op(self) -> str:
        """The op type, with its domain unless it is ONNX's own."""
        domain = self._node.domain
        return self._node.op_type if domain in ("", "ai.onnx") else f"{domain}::{self._node.op_type}"

    @property
    def output_count(self) -> int:
        """How many outputs the node lists."""
        return len(self._node.outputs)

    def shape(self, index: int = 0) -> Shape:
        """The logical shape of an input."""
        value = self._node.inputs[index]
        assert value is not None
        return _shape(value)

    @property
    def output_shape(self) -> Shape:
        """The logical shape of the first output."""
        return _shape(self._node.outputs[0])

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """The logical shapes of all outputs; () for one that nothing reads."""
        return tuple(_shape(value) if value.shape is not None else () for value in self._node.outputs)

    def reads_output(self, index: int) -> bool:
        """Whether output `index` is there and something reads it."""
        if index >= len(self._node.outputs):
            return False
        value = self._node.outputs[index]
        return bool(value.name) and (bool(value.uses()) or value.is_graph_output())

    def has(self, index: int) -> bool:
        """Whether the optional input `index` is there."""
        return index < len(self._node.inputs) and self._node.inputs[index] is not None

    def constant(self, index: int) -> np.ndarray[Any, Any] | None:
        """The value of input `index`, or None where it is absent or computed at run time."""
        value = self._node.inputs[index] if self.has(index) else None
        return None if value is None or value.const_value is None else value.const_value.numpy()

    def producer(self, index: int = 0) -> Node | None:
        """The node that computes input `index`."""
        value = self._node.inputs[index]
        maker = value.producer() if value is not None else None
        return None if maker is None else Node(maker)

    def consumers(self) -> list[Node]:
        """The nodes that read the first output."""
        return [Node(usage.node) for usage in self._node.outputs[0].uses()]

    @property
    def is_output(self) -> bool:
        """Whether the first output is an output of the model."""
        return self._node.outputs[0].is_graph_output()

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self._attribute(name, default))

    def number(self, name: str, default: float) -> float:
        """A real attribute."""
        return float(self._attribute(name, default))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return str(self._attribute(name, default))

    def integers(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """A list of integers."""
        return tuple(int(item) for item in self._attribute(name, default))

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of real numbers, empty where it is absent."""
        return tuple(float(item) for item in self._attribute(name, ()))

    def texts(self, name: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(str(item) for item in self._attribute(name, default))

    def _attribute(self, name: str, default: Any) -> Any:
        attribute = self._node.attributes.get(name)
        return default if attribute is None else attribute.value


def _shape(value: ir.Value) -> Shape:
    assert value.shape is not None, f"{value.name} has no shape: the Model is not normalised"
    return tuple(size if isinstance(size, int) else None for size in value.shape)
