"""What a .tflite file holds that can't be imported, found in its structure before any native code sees it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import InvalidInputError, UnsupportedOpError
from edgekit.formats.sizes import MAX_BYTES
from edgekit.formats.source import undeclared_state
from edgekit.formats.tflite import flatbuffer

__all__ = ["DTYPES", "element_count", "scan_tflite"]

# TensorType of the TFLite schema; the others (text, resources, four-bit integers, complex numbers) are in no Model.
DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 10: "float64",
    12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
_RESOURCES = {13, 14}
_VARIABLE_OPS = {"ASSIGN_VARIABLE", "READ_VARIABLE", "VAR_HANDLE"}


def scan_tflite(path: Path, content: bytes) -> Any:
    """The object (`ModelT` of the TFLite schema) of a .tflite file that hangs together and holds only what is known.

    Args:
        path: names the file in messages.
        content: the file's.

    Raises:
        InvalidInputError: the file is damaged, declares tensors of more than 2 GiB, or keeps state in variables.
        UnsupportedOpError: an op from outside TFLite, or a type of tensor that no Model has; names layer and op.
    """
    try:
        model = flatbuffer.read(content)
        # Names are used as text, indices as such.
        ops = [flatbuffer.op_names(model, place) for place in range(len(model.subgraphs))]
        for subgraph in model.subgraphs:
            _check_structure(model, subgraph)
    except Exception as error:
        raise _error(path, f"is a damaged TFLite model: {' '.join(str(error).split())[:200]}") from error
    if not ops or not ops[0]:
        raise _error(path, "holds an empty graph: no operator computes anything")
    total = sum(_bytes(tensor) for subgraph in model.subgraphs for tensor in subgraph.tensors)
    if total > MAX_BYTES:
        raise _error(path, f"declares {total >> 20} MiB of tensors; edgekit takes {MAX_BYTES >> 20} MiB at most")
    for subgraph, kinds in zip(model.subgraphs, ops, strict=True):
        for operator, kind in zip(subgraph.operators, kinds, strict=True):
            _check_operator(path, model, subgraph, operator, kind)
    return model


def element_count(tensor: Any) -> int:
    """The number of elements of a tensor; an open size counts as the one that the file was made with."""
    return math.prod(int(size) for size in tensor.shape) if tensor.shape is not None else 1


def _error(path: Path, cause: str, remedy: str = "Convert it again with the tool that made it.") -> InvalidInputError:
    return InvalidInputError(f"{path} {cause}", blame="your model file", remedy=remedy)


def _check_structure(model: Any, subgraph: Any) -> None:
    """Raise ValueError where a tensor is read before it is there, or a constant is not as long as its shape."""
    there = set(subgraph.inputs)
    for index, tensor in enumerate(subgraph.tensors):
        data = model.buffers[tensor.buffer].data
        if (data is not None and len(data)) or not _bytes(tensor) or tensor.isVariable:
            there.add(index)
    for operator in subgraph.operators:
        if not there.issuperset(index for index in operator.inputs if index != -1):
            raise ValueError("an operator reads a tensor that nothing makes")
        there.update(operator.outputs)
    if not there.issuperset(subgraph.outputs) or any(not 0 <= index < len(subgraph.tensors) for index in there):
        raise ValueError("an operator or output names a tensor that is not there")
    for tensor in subgraph.tensors:
        if tensor.shape is not None and any(size < 0 for size in tensor.shape):
            raise ValueError(f"the tensor {tensor.name!r} has a negative size")
        signed = tensor.shapeSignature
        if signed is not None and len(signed) and not _agree(signed, tensor.shape):
            raise ValueError(f"the tensor {tensor.name!r} has two shapes")
        data, wanted = model.buffers[tensor.buffer].data, _bytes(tensor)
        if data is not None and len(data) and tensor.type in DTYPES and not tensor.sparsity and len(data) != wanted:
            raise ValueError(f"the constant {tensor.name!r} has {len(data)} bytes instead of {wanted}")
        (tensor.name or b"").decode()


def _agree(signed: Any, shape: Any) -> bool:
    """Whether a shape with −1 for open sizes and one without are the same."""
    return (
        shape is not None
        and len(signed) == len(shape)
        and all(s in (-1, size) for s, size in zip(signed, shape, strict=True))
    )


def _bytes(tensor: Any) -> int:
    return element_count(tensor) * np.dtype(DTYPES.get(tensor.type, "uint8")).itemsize


def _check_operator(path: Path, model: Any, subgraph: Any, operator: Any, kind: str) -> None:
    tensors = [subgraph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index != -1]
    outputs = [(subgraph.tensors[index].name or b"").decode() for index in operator.outputs]
    layer = outputs[0] if outputs else "?"
    if kind == "CUSTOM":
        raise _custom_op(layer, (model.operatorCodes[operator.opcodeIndex].customCode or b"?").decode(errors="replace"))
    variables = [(tensor.name or b"?").decode() for tensor in tensors if tensor.isVariable]
    if variables or kind in _VARIABLE_OPS or any(tensor.type in _RESOURCES for tensor in tensors):
        kept = f" in the variable {variables[0]!r}" if variables else ""
        raise undeclared_state(f"{path} keeps state between calls: the layer {layer!r} ({kind}){kept}")
    if kind == "SOFTMAX" and operator.builtinOptions.beta != 1:
        # tf2onnx puts the factor behind the softmax.
        raise UnsupportedOpError(
            f"the layer {layer!r} is a SOFTMAX with the factor {operator.builtinOptions.beta:g}",
            blame="your model",
            remedy="Multiply the logits by it in a layer of its own, and convert the model again.",
        )
    odd = [tensor for tensor in tensors if tensor.type not in DTYPES]
    if odd or any(tensor.sparsity for tensor in tensors):
        raise UnsupportedOpError(
            f"the layer {layer!r} ({kind}) works on {'four-bit, complex or text' if odd else 'sparse'} tensors",
            blame="your model",
            remedy="Convert the model again without optimizations: converter.optimizations = []",
        )


def _custom_op(layer: str, code: str) -> UnsupportedOpError:
    if code.startswith("Flex"):
        remedy = (
            "Replace the layer by one that TFLite has, and convert again without SELECT_TF_OPS; or give the model that "
            "the file was made from."
        )
        return UnsupportedOpError(
            f"the layer {layer!r} is the TensorFlow op {code.removeprefix('Flex')}, which is not part of TFLite",
            blame="your model",
            remedy=remedy,
        )
    return UnsupportedOpError(
        f"the layer {layer!r} is the custom op {code}, which is not part of TFLite",
        blame="your model",
        remedy=f"Convert the network without {code}, and do that step in your program.",
    )
