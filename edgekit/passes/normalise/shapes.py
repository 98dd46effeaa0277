"""The shape of every value, for a batch of a given size."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgekit.core.errors import UnsupportedOpError

__all__ = ["LIKE_THEIR_INPUT", "Shapes", "infer_shapes", "known_shapes"]

Shapes = dict[str, tuple[int, ...]]

# Their outputs have the shape of their first input, which onnx does not say.
LIKE_THEIR_INPUT = frozenset({"GroupNormalization"})


def infer_shapes(model: ir.Model, batch: int | None = None) -> Shapes:
    """The static shape of every value by name; types are filled into `model`.

    Args:
        model: a graph whose inputs have static sizes, but for the batch in front.
        batch: the size of every input's first axis, or None to leave the inputs as they are.

    Raises:
        UnsupportedOpError: the shape of a value depends on the data; names layer and operator.
    """
    types = _infer(model, batch, strict=True)
    shapes: Shapes = {value.name or "": _sizes(types[value.name or ""]) for value in model.graph.inputs}
    for value in model.graph.outputs:
        if value.const_value is not None:  # an output that needs no input
            shapes[value.name or ""] = tuple(value.const_value.shape.numpy())
    for node in model.graph:
        for value in node.outputs:
            name = value.name or ""
            known = types.get(name)
            if known is None or not _is_static(known):
                if not value.uses() and not value.is_graph_output():
                    continue
                raise UnsupportedOpError(
                    f"the shape of what the layer {node.name!r} ({node.op_type}) gives depends on the data",
                    blame="your model",
                    remedy="Export the network without this step, and do it in your program.",
                )
            shapes[name] = _sizes(known)
            value.dtype = ir.DataType(known.elem_type)
    return shapes


def known_shapes(model: ir.Model, batch: int) -> Shapes:
    """Like `infer_shapes`, but only the shapes of values that can be told, in a graph that may contradict itself."""
    return {name: _sizes(kind) for name, kind in _infer(model, batch, strict=False).items() if _is_static(kind)}


def _infer(model: ir.Model, batch: int | None, *, strict: bool) -> dict[str, onnx.TypeProto.Tensor]:
    proto = ir.to_proto(model)
    for value in (*proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    if batch is not None:
        for value in proto.graph.input:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    return _types(proto, strict=strict)


def _types(proto: onnx.ModelProto, *, strict: bool) -> dict[str, onnx.TypeProto.Tensor]:
    """What is known of each value, by name."""
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=strict, data_prop=True).graph
    types = {value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    for node in proto.graph.node:
        if (
            node.op_type in LIKE_THEIR_INPUT
            and not _has_shape(types, node.output[0])
            and _has_shape(types, node.input[0])
        ):
            kind = types[node.input[0]]
            proto.graph.value_info.add(name=node.output[0]).type.tensor_type.CopyFrom(kind)
            for value in proto.graph.output:
                if value.name == node.output[0]:
                    value.type.tensor_type.CopyFrom(kind)
            return _types(proto, strict=strict)
    return types


def _has_shape(types: dict[str, onnx.TypeProto.Tensor], name: str) -> bool:
    return name in types and types[name].HasField("shape")


def _is_static(kind: onnx.TypeProto.Tensor) -> bool:
    return kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim)


def _sizes(kind: onnx.TypeProto.Tensor) -> tuple[int, ...]:
    return tuple(size.dim_value for size in kind.shape.dim)
