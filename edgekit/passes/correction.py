"""Each output channel of a layer whose weights changed gets the scale and the shift that bring it back, without labels.

Zeros and shared values take a layer's outputs y to z. For each channel a·z + b is fitted to y by least squares on
calibration samples, layer by layer, in a network whose layers in front are corrected already; a goes into the channel's
weights, whose zeros stay zero and whose values stay the code book's, times another scale, and b into its bias. That is
the correction of means of Nagel et al. (Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV
2019, arXiv:1906.04721) together with the one of variances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import set_input_constant
from edgekit.passes.layer_weights import bias_of, layer_weights, set_weights
from edgekit.passes.walk import Walk, affordable

__all__ = ["CorrectOutputs"]

_Array = np.ndarray[Any, Any]
_Vector = np.ndarray[Any, np.dtype[np.float64]]


class CorrectOutputs(Pass):
    """Brings the outputs of layers back to what they were in another Model of the same nodes.

    MatMul has no bias, and gets a scale alone. Weights that several layers share stay as they are.
    """

    name: ClassVar[str] = "correct-outputs"
    keeps_function: ClassVar[bool] = False

    def __init__(self, before: Model, samples: Mapping[str, _Array]) -> None:
        """What to come back to.

        Args:
            before: the Model before its weights changed.
            samples: calibration inputs by name, (samples, …) each.
        """
        self._before, self._samples = before, samples

    def call(self, model: Model) -> PassResult:
        """Correct each layer, from inputs to outputs."""
        todo = {weights.layer: weights for weights in layer_weights(model)}
        originals = {node.name: node for node in self._before.graph}
        samples = affordable(self._samples, self._before, model)
        there, here = Walk(self._before, samples), Walk(model, samples)
        fired = 0
        for node in list(model.graph):
            weights, value = todo.get(str(node.name)), node.inputs[1] if len(node.inputs) > 1 else None
            if weights is None or value is None or not _takes_part(node, value):
                continue
            original = originals[node.name]
            there.to(original)
            here.to(node)
            axis, bias = -1 if node.op_type == "MatMul" else 1, bias_of(node, weights.content.shape[weights.made])
            scale, shift = _fitted(there.made_by(original), here.made_by(node), axis, shifted=bias is not None)
            shape = [1] * weights.content.ndim
            shape[weights.made] = -1
            set_weights(model, weights.constant, weights.content * scale.reshape(shape))
            if bias is not None:
                content = (bias * scale + shift).astype(np.float32)
                set_input_constant(node, 2, content, name=f"{node.name}/corrected_bias")
            fired += 1
        return PassResult(model, fired)


def _takes_part(node: ir.Node, weights: ir.Value) -> bool:
    """Not where several layers share weights, or several groups of outputs do."""
    grouped = node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) > 1
    return len(weights.uses()) == 1 and not grouped


def _fitted(before: Iterable[_Array], after: Iterable[_Array], axis: int, *, shifted: bool) -> tuple[_Vector, _Vector]:
    """Scale and shift of each channel; 1 where `after` says nothing about `before`."""
    count, sums = 0, np.zeros(1)
    for one, other in zip(before, after, strict=True):
        y, z = (np.moveaxis(each, axis, -1).reshape(-1, each.shape[axis]).astype(np.float64) for each in (one, other))
        count += len(y)
        sums = sums + np.stack([y.sum(0), z.sum(0), (y * z).sum(0), (z * z).sum(0)])
    mean_y, mean_z, product, square = sums / count
    if shifted:
        product, square = product - mean_y * mean_z, square - mean_z**2
    useful = (product > 0) & (square > 1e-9 * (square + mean_z**2))
    scale = np.divide(product, square, out=np.ones_like(product), where=useful)
    return scale, mean_y - scale * mean_z if shifted else np.zeros_like(scale)
