"""The steps of the normal form, in order."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.ir.state import Declared, check_states
from edgekit.passes.normalise.batch import free_batch
from edgekit.passes.normalise.batch_norm import unwrap_batch_norm
from edgekit.passes.normalise.defaults import write_defaults
from edgekit.passes.normalise.fold import clean
from edgekit.passes.normalise.names import name_nodes
from edgekit.passes.normalise.opset import to_opset
from edgekit.passes.normalise.recurrent import drop_zero_states
from edgekit.passes.normalise.shapes import infer_shapes
from edgekit.passes.normalise.support import refuse_foreign_ops, refuse_what_is_left

__all__ = ["normalise"]


def normalise(proto: onnx.ModelProto, seed: int = 0, states: Declared | None = None) -> Model:
    """The Model of an ONNX graph whose inputs have a size for every axis (a free first axis counts as a batch of 1).

    Args:
        proto: any opset; local functions inlined, no weights among the inputs.
        seed: seed of the inputs on which a freed batch is checked.
        states: the declared recurrent state; see `check_states`.

    Raises:
        UnsupportedOpError: an operator that a Model can't hold; names layer, operator and remedy.
        InvalidInputError: quantized or half-precision networks, ones that fix a batch of several samples, and state
            that is not declared or not declared rightly.
    """
    refuse_foreign_ops(proto)
    proto = _fix_batch(proto)
    write_defaults(proto.graph)
    proto = to_opset(proto)
    _forget_shapes(proto.graph)
    model = ir.from_proto(proto)
    name_nodes(model.graph)
    clean(model)
    refuse_what_is_left(model)
    name_nodes(model.graph)
    unwrap_batch_norm(model.graph, infer_shapes(model))
    drop_zero_states(model.graph)
    # A constant that nothing uses keeps the converter's name, which a second import would number otherwise.
    RemoveUnusedNodesPass()(model)
    free = free_batch(Model(model), seed)
    states = states or {}
    check_states(free, states)
    # A state may have another axis in front than the batch: PyTorch's has the layers there.
    fixed = [spec for spec in free.inputs if spec.shape and spec.shape[0] not in (None, 1) and spec.name not in states]
    if fixed:
        raise InvalidInputError(
            f"the network works on batches of {fixed[0].shape[0]} only (input {fixed[0].name!r})",
            blame="your model file",
            remedy="Export it with a batch of 1, or with a dynamic batch.",
        )
    return free


def _fix_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with static inputs, where an open batch is 1."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    for value in fixed.graph.input:
        for size in value.type.tensor_type.shape.dim[:1]:
            size.dim_value = size.dim_value or 1
    return fixed


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Drop what the file says about shapes behind the inputs: they are inferred."""
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
