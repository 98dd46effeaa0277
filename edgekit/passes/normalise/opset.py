"""Any opset to the one that Models have."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.inliner
import onnx.version_converter

from edgekit.core.errors import UnsupportedOpError
from edgekit.ir.model import IR_VERSION, OPSET
from edgekit.passes.normalise.shapes import LIKE_THEIR_INPUT

__all__ = ["to_opset"]

# Composites that the runtimes of small devices don't know as one operator.
_COMPOSITES = frozenset({"Attention", "RotaryEmbedding"})


def _opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operators that the model is written in."""
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def to_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in opset `OPSET`; the importer's comparison with the original answers for its meaning.

    Raises:
        UnsupportedOpError: an operator has no equivalent there.
    """
    version = _opset_of(proto)
    try:
        if version < OPSET:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        proto = _spell_out(proto, max(version, OPSET))
        if version > OPSET:
            proto = _relabel(proto, version)
    except Exception as error:
        raise UnsupportedOpError(
            f"the model can't be brought from opset {version} to {OPSET}: {' '.join(str(error).split())[:300]}",
            blame="your model",
            remedy=f"Export it again with opset_version={OPSET}.",
        ) from error
    proto.ir_version = IR_VERSION
    return proto


def _spell_out(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Write operators that no Model can hold in simpler ones, where ONNX defines them as functions of such."""
    operators = sorted({node.op_type for node in proto.graph.node if _is_foreign_function(node.op_type, version)})
    if not operators:
        return proto
    chosen = [("", operator) for operator in operators]
    return onnx.inliner.inline_selected_functions(_typed(proto), chosen, inline_schema_functions=True)


def _relabel(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Call operators that came after `OPSET` by their versions there.

    Most later versions of an operator only take more types. Attributes that `OPSET` does not know may go only while
    they have their default.
    """
    relabelled = onnx.ModelProto()
    relabelled.CopyFrom(proto)
    del relabelled.opset_import[:]
    relabelled.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    for node in relabelled.graph.node:
        _drop_new_defaults(node, version)
    onnx.checker.check_model(relabelled)
    return relabelled


def _typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every value's type written down, the weights' too: how a function is spelled depends on them."""
    typed = onnx.ModelProto()
    typed.CopyFrom(proto)
    for tensor in proto.graph.initializer:
        typed.graph.value_info.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return onnx.shape_inference.infer_shapes(typed)


def _is_foreign_function(op: str, version: int) -> bool:
    """Whether ONNX has a definition of the operator in simpler ones, and a Model can't hold the operator itself.

    That is one that `OPSET` does not know, a composite, or one whose shapes ONNX does not infer.
    """
    schema: Any = onnx.defs.get_schema(op, version)
    is_function = schema.has_function or schema.has_context_dependent_function
    shapeless = not schema.has_type_and_shape_inference_function and op not in LIKE_THEIR_INPUT
    return is_function and (shapeless or op in _COMPOSITES or not _known(op))


def _known(op: str) -> bool:
    try:
        onnx.defs.get_schema(op, OPSET)
    except onnx.defs.SchemaError:
        return False
    return True


def _drop_new_defaults(node: onnx.NodeProto, version: int) -> None:
    new, old = onnx.defs.get_schema(node.op_type, version), onnx.defs.get_schema(node.op_type, OPSET)
    for attribute in list(node.attribute):
        if attribute.name not in old.attributes and attribute == new.attributes[attribute.name].default_value:
            node.attribute.remove(attribute)
