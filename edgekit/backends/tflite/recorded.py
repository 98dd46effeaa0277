"""What a quantized source says about its own scales, brought to the tensors of the float file made from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from edgekit.backends.tflite.calibrate import Ranges
from edgekit.core.types import TensorSpec
from edgekit.formats.tflite import flatbuffer
from edgekit.ir import Model
from edgekit.ir.quantization import QuantParams, recorded_params
from edgekit.passes.quantize.weights import is_stored_whole

__all__ = ["recorded_ranges", "scope_of", "tensors_stored_whole"]

# Their outputs are stored as their first input is: LiteRT's kernels for them do not rescale.
_HANDING_ON = frozenset(
    {
        "AVERAGE_POOL_2D", "DEPTH_TO_SPACE", "GATHER", "MAX_POOL_2D", "PAD", "PADV2", "RESHAPE", "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE",
    }
)  # fmt: skip
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def recorded_ranges(content: bytes, model: Model, inputs: tuple[TensorSpec, ...], scopes: Mapping[str, str]) -> Ranges:
    """The range of each tensor that the source stores, by tensor name: what it takes to get the source's scale again.

    Args:
        content: the float file.
        model: what it was made from, with the source's scales recorded.
        inputs: the file's inputs, in order, by the Model's names.
        scopes: the prefix of tensor names of each layer.
    """
    recorded = recorded_params(model)
    file = flatbuffer.read(content)
    graph = file.subgraphs[0]
    found = {index: recorded.get(spec.name) for index, spec in zip(graph.inputs, inputs, strict=True)}
    operators = list(zip(flatbuffer.op_names(file), graph.operators, strict=True))
    made = [index for kind, operator in operators if kind not in _HANDING_ON for index in operator.outputs]
    values = _values(model, scopes, {index: graph.tensors[index].name.decode() for index in made})
    for kind, operator in operators:
        for index in operator.outputs:
            source = found.get(operator.inputs[0])
            found[index] = source if kind in _HANDING_ON else recorded.get(values.get(index, ""))
    return {graph.tensors[index].name.decode(): _range(params) for index, params in found.items() if params}


def tensors_stored_whole(content: bytes) -> Iterator[str]:
    """Outputs of the operators whose weights have one scale for all channels in the source."""
    file = flatbuffer.read(content)
    graph = file.subgraphs[0]
    for kind, operator in zip(flatbuffer.op_names(file), graph.operators, strict=True):
        weights = graph.tensors[operator.inputs[1]] if kind in _WEIGHTED else None
        data = file.buffers[weights.buffer].data if weights is not None else None
        if data is not None and len(data) and is_stored_whole(np.frombuffer(bytes(data), np.float32)):
            yield graph.tensors[operator.outputs[0]].name.decode()


def _values(model: Model, scopes: Mapping[str, str], tensors: Mapping[int, str]) -> dict[int, str]:
    """The Model's value that a tensor holds, for each tensor that holds one, of those given in execution order.

    A fused operator's tensor is called after all its layers: it holds what the last of them gives. Where a layer takes
    several operators, the last one's tensor holds its value, and the others none.
    """
    nodes = list(model.graph)
    places = {scopes[node.name or ""]: place for place, node in enumerate(nodes)}
    holding: dict[int, int] = {}
    for index, name in tensors.items():
        layers = [places[scope] for part in name.split(";") if (scope := scope_of(part, places)) is not None]
        if layers:
            holding[max(layers)] = index
    return {index: nodes[place].outputs[0].name or "" for place, index in holding.items()}


def scope_of(name: str, scopes: Collection[str]) -> str | None:
    """The longest of the scopes that a TensorFlow name lies in."""
    parts = name.split("/")
    prefixes = ("/".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((prefix for prefix in prefixes if prefix in scopes), None)


def _range(params: QuantParams) -> dict[str, np.ndarray[Any, Any]]:
    # In double precision, so that the scale comes back as it was to the last bit.
    return {"min": np.full((1, 1), params.low), "max": np.full((1, 1), params.high)}
