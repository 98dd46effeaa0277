"""ONNX files: parsed, held to their own folder, run once in ONNX Runtime as they are."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.numpy_helper
import onnxruntime as ort

from edgekit.core.errors import EdgekitError, InvalidInputError
from edgekit.core.types import TensorSpec
from edgekit.formats.sizes import Shape, fill_sizes, write_sizes
from edgekit.formats.source import Source, check_weights
from edgekit.ir.run import Arrays, run_bytes
from edgekit.passes.normalise.nms import cut_nms
from edgekit.passes.normalise.support import refuse_foreign_ops

__all__ = ["read_onnx"]

# The newest that ONNX Runtime reads; onnx writes newer ones, which differ only in types that no Model has.
_RUNTIME_IR_VERSION = 13
_TOO_NEW = re.compile(r"Opset (\d+) is under development.* is till opset (\d+)")


def read_onnx(path: Path, input_shapes: Mapping[str, Sequence[int]]) -> Source:
    """Read the ONNX model at `path`; the file as it is stays the reference.

    A detector's NonMaxSuppression is cut off, with what follows it; the reference then gives what went into it.

    Args:
        path: the file; external data lies in its folder.
        input_shapes: sizes for the axes that the model leaves open, by input name, batch included.

    Raises:
        InvalidInputError: the file is damaged, reaches outside its folder, leaves a size open, or its weights are not
            numbers.
        UnsupportedOpError: an operator is not part of the ONNX standard.
    """
    proto = _parse(path)
    beside = tuple(sorted({_location(tensor) for tensor in _external(proto)}))
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
        network = onnx.inliner.inline_local_functions(proto) if proto.functions else proto
        network, whole, cuts = cut_nms(network)
        original = _serialised(whole if cuts else proto)
        refuse_foreign_ops(network)
        onnx.checker.check_model(network)
        weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    except EdgekitError:
        raise
    except Exception as error:
        raise _error(f"{path} is a damaged ONNX model: {_line(error)}") from error
    check_weights({**weights, **_constants(network.graph)})
    _drop_weights_from_inputs(network.graph)
    specs = _fix_sizes(network.graph, input_shapes)
    answer = functools.partial(_answer, path, original)
    runtime = f"onnxruntime {ort.__version__}"
    return Source("onnx", network, runtime, specs, answer, beside=beside, cuts=cuts, warnings=tuple(map(str, cuts)))


def _error(cause: str, remedy: str = "Export it again with the tool that made it.") -> InvalidInputError:
    return InvalidInputError(cause, blame="your model file", remedy=remedy)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _parse(path: Path) -> onnx.ModelProto:
    """The file as a message; its external data are found where they may be, and not read yet."""
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise _error(f"{path} is not an ONNX model, or a damaged one: {_line(error)}") from error
    if not _is_text(proto):
        raise _error(f"{path} is a damaged ONNX model: a name in it is not text (UTF-8)")
    if not proto.graph.node:
        raise _error(f"{path} holds an empty graph: no node computes anything")
    folder = path.parent.resolve()
    for tensor in _external(proto):
        file = (folder / _location(tensor)).resolve()
        if not file.is_relative_to(folder):
            raise _error(
                f"{path} keeps its weights {tensor.name!r} outside its own folder: {_location(tensor)!r}",
                "Put the data file beside the model, and name it relative to it.",
            )
        if not file.is_file():
            raise _error(f"{path} needs the file {file}, which is not there", "Copy it along with the model.")
    return proto


def _external(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    return (tensor for tensor in _tensors(proto) if tensor.data_location == onnx.TensorProto.EXTERNAL)


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _is_text(message: Any) -> bool:
    """Whether every string in a protobuf message is UTF-8; protobuf hands on what is not as bytes."""
    for field, value in message.ListFields():
        items = [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value
        if field.type == field.TYPE_STRING and any(isinstance(text, bytes) for text in items):
            return False
        if field.type == field.TYPE_MESSAGE and not all(_is_text(item) for item in items):
            return False
    return True


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from proto.graph.initializer
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for attribute in (attribute for node in nodes for attribute in node.attribute):
            yield attribute.t
            yield from attribute.tensors


def _serialised(proto: onnx.ModelProto) -> bytes:
    """The model as ONNX Runtime gets it: as it is, but for a version number that the runtime would not read."""
    original = onnx.ModelProto()
    original.CopyFrom(proto)
    original.ir_version = min(proto.ir_version, _RUNTIME_IR_VERSION)
    return bytes(original.SerializeToString())


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors in Constant nodes, by the name of the value."""
    return {
        node.output[0]: onnx.numpy_helper.to_array(attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }


def _drop_weights_from_inputs(graph: onnx.GraphProto) -> None:
    """Old exporters list each weight as an input too, with the weight as its default."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _fix_sizes(graph: onnx.GraphProto, input_shapes: Mapping[str, Sequence[int]]) -> tuple[TensorSpec, ...]:
    """Write the sizes that the user gives into the graph's inputs, and describe these."""
    shapes = fill_sizes({value.name: _shape(value) for value in graph.input}, input_shapes)
    write_sizes(graph, shapes)
    dtypes = {v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in graph.input}
    return tuple(TensorSpec(name, shape, str(dtypes[name])) for name, shape in shapes.items())


def _shape(value: onnx.ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    return tuple(size.dim_value or None for size in tensor.shape.dim) if tensor.HasField("shape") else None


def _answer(path: Path, original: bytes, feeds: Arrays) -> Arrays:
    try:
        return run_bytes(original, feeds, batch=1)
    except Exception as error:
        too_new = _TOO_NEW.search(" ".join(str(error).split()))
        cause = (
            f"{path} is in opset {too_new[1]}, and ONNX Runtime {ort.__version__} reads up to {too_new[2]}"
            if too_new
            else f"ONNX Runtime itself can't run {path}: {_line(error)}"
        )
        raise _error(cause, "Export it again with opset_version=18.") from error
