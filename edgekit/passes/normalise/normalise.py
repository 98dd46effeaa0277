"""The steps of the normal form, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.passes.normalise.batch import free_batch
from edgekit.passes.normalise.batch_norm import unwrap_batch_norm
from edgekit.passes.normalise.fold import clean
from edgekit.passes.normalise.names import name_nodes
from edgekit.passes.normalise.opset import to_opset
from edgekit.passes.normalise.shapes import infer_shapes
from edgekit.passes.normalise.support import refuse_foreign_ops, refuse_what_is_left

__all__ = ["bind_sizes", "normalise"]


def normalise(proto: onnx.ModelProto, seed: int = 0) -> Model:
    """The Model of an ONNX graph whose inputs have a size for every axis (a free first axis counts as a batch of 1).

    Args:
        proto: any opset; local functions inlined, no weights among the inputs.
        seed: seed of the inputs on which a freed batch is checked.

    Raises:
        UnsupportedOpError: an operator that a Model can't hold; names layer, operator and remedy.
        InvalidInputError: quantized or half-precision networks, and ones that fix a batch of several samples.
    """
    refuse_foreign_ops(proto)
    proto = to_opset(bind_sizes(proto, {}))
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    model = ir.from_proto(proto)
    name_nodes(model.graph)
    clean(model)
    refuse_what_is_left(model)
    name_nodes(model.graph)
    unwrap_batch_norm(model.graph, infer_shapes(model))
    free = free_batch(Model(model), seed)
    fixed = [value for value in free.inputs if value.shape and value.shape[0] not in (None, 1)]
    if fixed:
        raise InvalidInputError(
            f"the network works on batches of {fixed[0].shape[0]} only (input {fixed[0].name!r})",
            blame="your model file",
            remedy="Export it with a batch of 1, or with a dynamic batch.",
        )
    return free


def bind_sizes(proto: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy of `proto` whose inputs have static shapes: their own, `input_shapes`, and 1 for a free batch.

    Raises:
        InvalidInputError: a size stays open, contradicts the model's own, or is for an input that isn't there.
    """
    bound = onnx.ModelProto()
    bound.CopyFrom(proto)
    inputs = {value.name: value for value in bound.graph.input}
    unknown = sorted(set(input_shapes) - set(inputs))
    if unknown:
        raise _error(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(inputs)}", "Use one of them.")
    for name, value in inputs.items():
        _bind(value, input_shapes.get(name))
    return bound


def _bind(value: onnx.ValueInfoProto, given: Sequence[int] | None) -> None:
    tensor = value.type.tensor_type
    own = [dim.dim_value or None for dim in tensor.shape.dim] if tensor.HasField("shape") else None
    sizes = list(given) if given is not None else own
    written = "unknown" if own is None else "×".join(str(size or "?") for size in own)
    if given is not None and own is not None and not _fits(given, own):
        text = ",".join(map(str, given))
        raise _error(f"--input-shape {value.name}={text} contradicts the model's own {written}", "Only ? is open.")
    if sizes is not None and sizes and sizes[0] is None:
        sizes[0] = 1
    if sizes is None or None in sizes:
        example = ",".join(str(size or 224) for size in sizes or (1, 3, None, None))
        raise InvalidInputError(
            f"the model leaves the size of its input {value.name!r} open: {written}",
            blame="your model file",
            remedy=f"Fix it, with your own sizes: --input-shape {value.name}={example}",
        )
    tensor.shape.Clear()
    for size in sizes:
        tensor.shape.dim.add().dim_value = size


def _fits(given: Sequence[int], own: Sequence[int | None]) -> bool:
    return len(given) == len(own) and all(o in (None, g) for o, g in zip(own, given, strict=True))


def _error(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your --input-shape", remedy=remedy)
