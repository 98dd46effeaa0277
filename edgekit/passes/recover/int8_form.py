"""What was trained under fake quantization, as a Model that back ends compile to the very integers of the training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.ir.model import Model
from edgekit.ir.quantization import set_made_for, set_quant_params
from edgekit.passes.quantize.ranges import params_of_range
from edgekit.passes.quantize.weights import weight_scale
from edgekit.passes.recover.fake_quantize import FakeQuantization
from edgekit.passes.recover.samples import Array
from edgekit.passes.recover.training import written_back

__all__ = ["int8_form"]


def int8_form(model: Model, fake: FakeQuantization, arrays: Mapping[str, Array]) -> Model:
    """The int8 form of `model`: weights are integers × a scale, and values have their ranges recorded.

    Args:
        model: the network that was trained.
        fake: how it was rounded meanwhile.
        arrays: its variables, in units, and the ranges, by name.
    """
    weights = {}
    for name in model.graph.initializers.keys() & arrays.keys():
        weights[name] = fake.in_model(name, arrays[name])
        if name in fake.kernels:
            weights[name] = _on_grid(weights[name], fake.kernels[name], fake.integers.top)
    result = written_back(model, weights)
    for value in [*result.graph.inputs, *(value for node in result.graph for value in node.outputs)]:
        name = str(value.name)
        if name in fake.stored_as:
            set_quant_params(value, params_of_range(fake.range_of(name, arrays), symmetric=fake.integers.symmetric))
    set_made_for(result, fake.integers.top)
    return result


def _on_grid(weights: Array, axis: int, top: int) -> Array:
    """The nearest integers × the scale of their channel."""
    scale = weight_scale(weights, axis, top)
    wide = scale.reshape([-1 if scale.ndim and at == axis else 1 for at in range(weights.ndim)])
    return np.asarray(np.rint(weights / wide) * wide, np.float32)
