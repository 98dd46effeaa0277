"""What a Model can't hold: operators outside the ONNX standard, control flow, chance, numbers other than float32."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir

from edgekit.core.errors import EdgekitError, InvalidInputError, UnsupportedOpError

__all__ = ["refuse_foreign_ops", "refuse_what_is_left"]

_STANDARD = ("", "ai.onnx")
_CONTROL_FLOW = {"If", "Loop", "Scan"}
_SEQUENCES = ("Sequence", "Optional", "SplitToSequence", "ConcatFromSequence", "StringNormalizer", "TfIdfVectorizer")
_CHANCE = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
# Float operators between QuantizeLinear and DequantizeLinear can be followed; integer operators can't.
_INTEGER = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
_HALF = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def refuse_foreign_ops(proto: onnx.ModelProto) -> None:
    """Check that every operator is one of the ONNX standard; functions of the model itself count as inlined.

    Raises:
        UnsupportedOpError: names layer, operator and remedy.
    """
    for node in _nodes(proto.graph.node):
        # A node may have no name, but not no output.
        name = node.name or next(iter(node.output), "?")
        if node.domain not in _STANDARD:
            raise _op_error(name, f"{node.domain}.{node.op_type}", "is not part of the ONNX standard")
        if not onnx.defs.has(node.op_type):
            raise _op_error(name, node.op_type, "is unknown to ONNX")


def refuse_what_is_left(model: ir.Model) -> None:
    """Check a graph after constant folding: whatever control flow or quantization is left really depends on the input.

    Raises:
        UnsupportedOpError: control flow, sequences, or operators that draw random numbers; names layer and operator.
        InvalidInputError: the network is quantized with integer operators, or computes in half precision.
    """
    for node in model.graph:
        name, kind = node.name or "?", node.op_type
        if kind in _CONTROL_FLOW:
            raise _op_error(name, kind, "makes the network's path depend on its input")
        if kind.startswith(_SEQUENCES):
            raise _op_error(name, kind, "works on sequences or text")
        if kind in _CHANCE:
            raise _op_error(name, kind, "draws random numbers, so its answers can't be checked")
        if kind in _INTEGER:
            raise _float_error(f"the model is quantized with integer operators (the layer {name!r} is a {kind})")
    half = [v.name for node in model.graph for v in (*node.inputs, *node.outputs) if v is not None and v.dtype in _HALF]
    if half:
        raise _float_error(f"the model computes in half precision (the tensor {half[0]!r})")


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _op_error(layer: str, op: str, why: str) -> EdgekitError:
    return UnsupportedOpError(
        f"the layer {layer!r} is a {op}, which {why}",
        blame="your model",
        remedy=f"Replace {op} where the model is defined, and export it again with standard ONNX operators (opset 18).",
    )


def _float_error(cause: str) -> EdgekitError:
    return InvalidInputError(
        cause, blame="your model file", remedy="Export the float32 model: edgekit makes the small precisions itself."
    )
