"""Any opset to the one that Models have."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.inliner
import onnx.version_converter

from edgekit.core.errors import UnsupportedOpError
from edgekit.ir.model import IR_VERSION, OPSET

__all__ = ["to_opset"]

# Its scales and biases became one a channel in opset 21; every other operator was only widened.
_CHANGED = {"GroupNormalization"}


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
        elif version > OPSET:
            proto = _downgrade(proto, version)
    except Exception as error:
        raise UnsupportedOpError(
            f"the model can't be brought from opset {version} to {OPSET}: {' '.join(str(error).split())[:300]}",
            blame="your model",
            remedy=f"Export it again with opset_version={OPSET}.",
        ) from error
    proto.ir_version = IR_VERSION
    return proto


def _downgrade(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Spell operators that came after `OPSET` in older ones where they are functions, and relabel the rest.

    Most later versions of an operator only take more types. Attributes that `OPSET` does not know may go only while
    they have their default.
    """
    functions = [op for op in sorted({node.op_type for node in proto.graph.node}) if _is_new_function(op, version)]
    if functions:
        chosen = [("", op) for op in functions]
        proto = onnx.inliner.inline_selected_functions(_typed(proto), chosen, inline_schema_functions=True)
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


def _is_new_function(op: str, version: int) -> bool:
    """Whether `OPSET` does not know the operator, or by another meaning, and ONNX spells it in simpler ones."""
    schema: Any = onnx.defs.get_schema(op, version)
    return (op in _CHANGED or not _known(op)) and (schema.has_function or schema.has_context_dependent_function)


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
