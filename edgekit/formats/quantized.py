"""A source that is quantized already: the float network that it stands for, and the one that rounds as it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.digest import digest_file
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams
from edgekit.passes.contract import apply
from edgekit.passes.quantize import Dequantize, float_ends
from edgekit.passes.quantize.nodes import QDQ

__all__ = ["Rounding", "as_float", "as_stored", "without_rounding"]

_NAME = "reference.onnx"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rounding:
    """A quantized network, with float inputs and outputs.

    Attributes:
        network: with QuantizeLinear and DequantizeLinear where the source rounds.
        ends: how the inputs and outputs are rounded, by name, whether the source takes them as integers or as floats.
    """

    network: Model
    ends: Mapping[str, QuantParams]

    def write(self, folder: Path) -> dict[str, Any]:
        """Save the network; the part of the import's report that tells of it."""
        path = folder / _NAME
        self.network.save(path)
        outputs = [spec.name for spec in self.network.outputs if spec.name in self.ends]
        return {
            "quantized": "int8",
            "reference": digest_file(path),
            "steps": {name: self.ends[name].scale for name in outputs},
        }


def without_rounding(network: Model, seed: int) -> tuple[Model, Rounding | None]:
    """The float network that a normalised one stands for, and itself where it rounds.

    Raises:
        UnsupportedOpError: it rounds in a way that edgekit can't follow; names layer and operator.
    """
    if not any(node.op_type in QDQ for node in network.graph):
        return network, None
    ends = float_ends(network)
    model, _ = apply(network, (Dequantize(),), seed)
    return model, Rounding(network, ends)


def as_stored(integers: Array, params: QuantParams, dtype: str) -> Array:
    """int8 numbers as an input or output of type `dtype` has them: int8, uint8, or the floats that they stand for."""
    if dtype == "uint8":
        return (integers + 128).astype(np.uint8)
    if dtype == "int8":
        return integers.astype(np.int8)
    return (integers.astype(np.float32) - np.float32(params.zero_point)) * np.float32(params.scale)


def as_float(stored: Array, params: QuantParams) -> Array:
    """The floats that an input or output stands for."""
    if stored.dtype.kind == "f":
        return stored
    integers = stored.astype(np.int64) - (128 if stored.dtype == np.uint8 else 0)
    return as_stored(integers, params, "float32")
