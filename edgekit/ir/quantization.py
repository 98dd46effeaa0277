"""How a quantized source stores a value: scale and zero point, kept in the metadata of the Model's values.

A Model is float throughout. Where its source was quantized already, the values that the source rounds carry what it
rounds them to, so that a back end can give them the very same integers again without measuring anything. Scales that we
chose ourselves travel the same way: then the Model says so (`made_for`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.ir.model import Model

__all__ = [
    "REARRANGING", "QuantParams", "forget_quant_params", "made_for", "quant_params", "recorded_params", "set_made_for",
    "set_quant_params",
]  # fmt: skip

_KEY = "edgekit.quantization"
_TOP_KEY = "edgekit.weights_top"
# These give their input's numbers in another order or shape.
REARRANGING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class QuantParams:
    """Affine quantization to int8, one scale for the whole tensor: value = scale · (integer − zero_point).

    Attributes:
        scale: the step between two neighbours, a float32.
        zero_point: the integer that stands for 0, −128 … 127.
    """

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """The least value that can be stored."""
        return self.scale * (-128 - self.zero_point)

    @property
    def high(self) -> float:
        """The greatest value that can be stored."""
        return self.scale * (127 - self.zero_point)


def set_quant_params(value: ir.Value, params: QuantParams | None) -> None:
    """Record how the source stores `value`; None takes the record away."""
    if params is None:
        value.metadata_props.pop(_KEY, None)
    else:
        value.metadata_props[_KEY] = json.dumps([params.scale, params.zero_point])


def quant_params(value: ir.Value) -> QuantParams | None:
    """What is recorded for `value`."""
    text = value.metadata_props.get(_KEY)
    return QuantParams(*json.loads(text)) if text else None


def recorded_params(model: Model) -> dict[str, QuantParams]:
    """How the source stores values, by their name; empty for a source that was float.

    What only rearranges a value (Reshape, Transpose, …) stores it as its input does, and the other way round.
    """
    found = {value.name or "": params for value in _values(model) if (params := quant_params(value)) is not None}
    pairs = [
        (node.inputs[0].name or "", node.outputs[0].name or "")
        for node in model.graph
        if node.op_type in REARRANGING and node.inputs and node.inputs[0] is not None
    ]
    for before, after in pairs:
        if before in found:
            found.setdefault(after, found[before])
    for before, after in reversed(pairs):
        if after in found:
            found.setdefault(before, found[after])
    return found


def set_made_for(model: Model, top: int) -> None:
    """Record that scales and weights are our own, made for a back end whose weights go from −`top` to `top`."""
    model.proto.metadata_props[_TOP_KEY] = str(top)


def made_for(model: Model) -> int | None:
    """The greatest integer of weights that the recorded scales go with; None where they are a source's, or none."""
    text = model.proto.metadata_props.get(_TOP_KEY)
    return int(text) if text else None


def forget_quant_params(model: Model) -> None:
    """Take away what is recorded for the values of `model`: it is no longer the network that the source rounded."""
    model.proto.metadata_props.pop(_TOP_KEY, None)
    for value in _values(model):
        set_quant_params(value, None)


def _values(model: Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph:
        yield from node.outputs
