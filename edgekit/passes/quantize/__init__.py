"""Between a network's quantized form and its float form: QuantizeLinear and DequantizeLinear taken out, or put in."""

from __future__ import annotations

from edgekit.passes.quantize.dequantize import Dequantize
from edgekit.passes.quantize.float_ends import float_ends
from edgekit.passes.quantize.insert import insert_qdq

__all__ = ["Dequantize", "float_ends", "insert_qdq"]
