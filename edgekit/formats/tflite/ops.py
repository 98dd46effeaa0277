"""Operators of TFLite that tf2onnx does not know, each in ONNX operators that it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["TFLITE_CONVERTERS"]


def _convert_gelu(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """GELU is x · ½(1 + erf(x / √2)), or, as an approximation, x · ½(1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    x, output = node.input[0], node.output[0]
    shape, dtype = graph.get_shape(output), graph.get_dtype(output)
    graph.remove_node(node.name)

    def op(kind: str, *operands: str | float, **names: Any) -> str:
        inputs = [value if isinstance(value, str) else _constant(graph, value) for value in operands]
        return str(graph.make_node(kind, inputs, shapes=[shape], dtypes=[dtype], **names).output[0])

    if node.get_attr_value("approximate", 0):
        cubic = op("Mul", op("Mul", x, x), op("Mul", x, 0.044715))
        bend = op("Tanh", op("Mul", op("Add", x, cubic), math.sqrt(2 / math.pi)))
    else:
        bend = op("Erf", op("Mul", x, math.sqrt(0.5)))
    op("Mul", op("Mul", x, 0.5), op("Add", bend, 1.0), name=node.name, outputs=[output])


def _constant(graph: Any, value: float) -> str:
    from tf2onnx import utils

    return str(graph.make_const(utils.make_name("constant"), np.array(value, np.float32)).output[0])


# As tf2onnx's `custom_op_handlers` takes them.
TFLITE_CONVERTERS: Mapping[str, tuple[Callable[..., None], list[str]]] = {"TFL_GELU": (_convert_gelu, [])}
