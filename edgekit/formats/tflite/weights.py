"""Constants of a .tflite file as numbers, and those that are stored in fewer bits than their operators compute in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgekit.formats.tflite import flatbuffer
from edgekit.formats.tflite.names import text
from edgekit.formats.tflite.scan import DTYPES

__all__ = ["constants", "widen_weights"]

_FLOAT32 = 0
_NARROW = {"float16", "int8", "uint8", "int16"}

Array = np.ndarray[Any, Any]


def constants(model: Any) -> dict[str, Array]:
    """Every constant by name; weights in integers with a scale are given as the floats that they stand for."""
    found = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            value = _value(model, tensor)
            if value is not None:
                found[text(tensor.name)] = value if value.dtype.kind == "f" else _dequantized(tensor, value)
    return found


def widen_weights(model: Any) -> list[str]:
    """Store the narrow weights of float operators as float32, and drop the operators that widen them at run time.

    Args:
        model: the file (`ModelT`); changed in place.

    Returns:
        Names of outputs of operators that took weights in integers as they are: these round their inputs too.
    """
    rounding = []
    for place, subgraph in enumerate(model.subgraphs):
        kept = []
        for operator, kind in zip(subgraph.operators, flatbuffer.op_names(model, place), strict=True):
            outputs = [subgraph.tensors[index] for index in operator.outputs]
            floats = any(tensor.type == _FLOAT32 for tensor in outputs)
            narrow = list(_narrow_constants(model, subgraph, operator)) if floats else []
            if kind == "DEQUANTIZE" and narrow:
                _store(model, outputs[0], _dequantized(*narrow[0]))
                continue
            kept.append(operator)
            for tensor, value in narrow:
                _store(model, tensor, _dequantized(tensor, value))
            if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
                operator.builtinOptions.asymmetricQuantizeInputs = False
            if narrow:
                rounding.append(text(outputs[0].name))
        subgraph.operators = kept
    return rounding


def _value(model: Any, tensor: Any) -> Array | None:
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data) or tensor.type not in DTYPES or tensor.sparsity:
        return None
    values: Array = np.frombuffer(bytes(data), DTYPES[tensor.type])
    return values.reshape(() if tensor.shape is None else tensor.shape)


def _narrow_constants(model: Any, subgraph: Any, operator: Any) -> Iterator[tuple[Any, Array]]:
    for index in operator.inputs:
        tensor = subgraph.tensors[index] if index != -1 else None
        if tensor is None or DTYPES.get(tensor.type) not in _NARROW:
            continue
        value = _value(model, tensor)
        if value is not None and (value.dtype.kind == "f" or _is_scaled(tensor)):
            yield tensor, value


def _is_scaled(tensor: Any) -> bool:
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return scale is not None and len(scale) > 0


def _dequantized(tensor: Any, value: Array) -> Array:
    """(q − zero point) · scale, by channel where there are several scales; a value without a scale as it is."""
    if not _is_scaled(tensor) or value.dtype.kind == "f":
        return value.astype(np.float32) if value.dtype == np.float16 else value
    quantization = tensor.quantization
    axes = [1] * value.ndim
    if len(quantization.scale) > 1:
        axes[quantization.quantizedDimension] = -1
    scale = np.asarray(quantization.scale, np.float32).reshape(axes)
    zero = np.asarray(quantization.zeroPoint, np.float32).reshape(axes)
    return ((value.astype(np.float32) - zero) * scale).astype(np.float32)


def _store(model: Any, tensor: Any, value: Array) -> None:
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, _FLOAT32, None
