"""TFLite networks that compute in integers: whether a file holds one, and what goes into the activation at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.errors import UnsupportedOpError
from edgekit.formats.parity import before_activation
from edgekit.formats.tflite import flatbuffer
from edgekit.formats.tflite.names import text
from edgekit.formats.tflite.scan import DTYPES

__all__ = ["computes_in_integers", "expose_logits"]

_SATURATING = frozenset({"LOGISTIC", "SOFTMAX", "TANH"})


def computes_in_integers(model: Any) -> bool:
    """Whether operators of the file (`ModelT`) give quantized numbers.

    Raises:
        UnsupportedOpError: numbers of 16 bits; names the layer.
    """
    graph = model.subgraphs[0]
    found = False
    for operator, kind in zip(graph.operators, flatbuffer.op_names(model), strict=True):
        for tensor in (graph.tensors[index] for index in operator.outputs):
            if tensor.quantization is None or tensor.quantization.scale is None or not len(tensor.quantization.scale):
                continue
            dtype = DTYPES[tensor.type]
            if dtype == "int16":
                raise UnsupportedOpError(
                    f"the layer {text(tensor.name)!r} ({kind}) gives int16, and edgekit takes int8 and uint8",
                    blame="your model",
                    remedy="Give the float model that it was made from: edgekit makes the small precisions itself.",
                )
            found |= dtype in {"int8", "uint8"}
    return found


def expose_logits(model: Any, outputs: Mapping[str, int]) -> dict[str, int]:
    """Make what goes into a softmax, sigmoid or tanh at the end of the file (`ModelT`) one more output each.

    Args:
        model: changed in place.
        outputs: the outputs' tensors by name.

    Returns:
        The new ones, by the names that `before_activation` gives them.
    """
    graph = model.subgraphs[0]
    inner = {}
    for operator, kind in zip(graph.operators, flatbuffer.op_names(model), strict=True):
        for name, index in outputs.items():
            if kind in _SATURATING and index in operator.outputs and operator.inputs[0] not in outputs.values():
                inner[before_activation(name)] = int(operator.inputs[0])
    graph.outputs = [*graph.outputs, *inner.values()]
    return inner
