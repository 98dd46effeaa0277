"""How int8 stores each value of a network where nobody has thought about it: by the range it was seen to take."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams, recorded_params
from edgekit.passes.quantize.placement import Storing
from edgekit.passes.quantize.ranges import Range, params_of_range

__all__ = ["naive_storing"]

# What integer kernels give, whatever the data: probabilities in 256 steps, and −1 … 1.
_FIXED = {
    "Sigmoid": QuantParams(1 / 256, -128),
    "Softmax": QuantParams(1 / 256, -128),
    "Tanh": QuantParams(1 / 128, 0),
}


def naive_storing(model: Model, ranges: Mapping[str, Range]) -> Storing:
    """How each value of `model` is stored, by its name: as is recorded, else as the kernel has it, else by its range.

    Args:
        model: a float network.
        ranges: of every float value, from `measure_ranges`.
    """
    known = recorded_params(model)
    for node in model.graph:
        if node.op_type in _FIXED and not node.domain:
            known.setdefault(str(node.outputs[0].name), _FIXED[node.op_type])
    return lambda name: known.get(name) or params_of_range(ranges[name])
