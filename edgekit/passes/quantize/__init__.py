"""Between a network's quantized form and its float form: QuantizeLinear and DequantizeLinear taken out, or put in."""

from __future__ import annotations

from edgekit.passes.quantize.dequantize import Dequantize
from edgekit.passes.quantize.dynamic import dynamic_layers, write_dynamic
from edgekit.passes.quantize.float_ends import float_ends
from edgekit.passes.quantize.gemm import gemm_form
from edgekit.passes.quantize.insert import insert_qdq, round_value, store_weights
from edgekit.passes.quantize.placement import Placement, place
from edgekit.passes.quantize.qdq import write_qdq
from edgekit.passes.quantize.ranges import Range, measure_ranges, params_of_range

__all__ = [
    "Dequantize", "Placement", "Range", "dynamic_layers", "float_ends", "gemm_form", "insert_qdq", "measure_ranges",
    "params_of_range", "place", "round_value", "store_weights", "write_dynamic", "write_qdq",
]  # fmt: skip
