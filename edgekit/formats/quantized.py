"""A source that is quantized already: the float network that it stands for, and the one that rounds as it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.digest import digest_file
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams
from edgekit.passes.contract import apply
from edgekit.passes.quantize import Dequantize, float_ends
from edgekit.passes.quantize.nodes import QDQ

__all__ = ["Rounding", "without_rounding"]

_NAME = "reference.onnx"


@dataclass(frozen=True)
class Rounding:
    """A quantized network, with float inputs and outputs.

    Attributes:
        network: with QuantizeLinear and DequantizeLinear where the source rounds.
        ends: how the source stores its inputs and outputs, by name; those that are float in it are not there.
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
