"""Model → float .tflite, through the TensorFlow lowering."""

from __future__ import annotations

from edgekit.formats.tflite import flatbuffer
from edgekit.ir import Model
from edgekit.lowering import lower, scope_names
from edgekit.lowering.module import LoweredModule

__all__ = ["convert"]

_FUSED_INTO_THE_OP_BEFORE = {
    "Add", "BatchNormalization", "Cast", "Clip", "Dropout", "Flatten", "Identity", "Mul", "Relu", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
}  # fmt: skip


def convert(model: Model, batch: int) -> tuple[bytes, LoweredModule]:
    """The float file for `batch` samples, and the module it was made from. Two calls give the same bytes.

    Inputs and outputs bear the Model's names in the file's signature and stand in the Model's order; a tensor is named
    after the layers that it comes from, like `conv1/Conv2D;bn1/add`.

    Raises:
        UnsupportedOpError: an op without a lowering.
    """
    module = lower(model)
    file = flatbuffer.read(_run_converter(module, batch))
    flatbuffer.name_ends(
        file,
        {f"input_{index}": spec.name for index, spec in enumerate(module.inputs)},
        {f"output_{index}": spec.name for index, spec in enumerate(module.outputs)},
    )
    # The converter calls the outputs after itself; what is matched by layer needs the layers there, too.
    subgraph = file.subgraphs[0]
    for index, layers in zip(subgraph.outputs, _layers_of_outputs(model), strict=True):
        flatbuffer.rename(subgraph, index, ";".join(layers))
    return flatbuffer.write(file), module


def _run_converter(module: LoweredModule, batch: int) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.concrete_function(batch)], module)
    content: bytes = converter.convert()
    return content


def _layers_of_outputs(model: Model) -> list[list[str]]:
    """For each output, the layers whose op may have made its tensor: back through what gets fused."""
    scopes = scope_names(model)
    found = []
    for output in model.graph.outputs:
        layers, node = [], output.producer()
        while node is not None:
            layers.append(f"{scopes[node.name or '']}/{node.op_type}")
            source = node.inputs[0] if node.op_type in _FUSED_INTO_THE_OP_BEFORE else None
            node = source.producer() if source is not None and len(source.uses()) == 1 else None
        found.append(layers or [output.name or "output"])
    return found
