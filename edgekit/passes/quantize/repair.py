"""A float network in its int8 form, with less of an error than plain ranges and plain rounding have.

Layer by layer, in a network whose activations and layers in front are rounded already: weights are put on the int8
grid, and what the rounding does to the mean of each channel of the layer's output is taken out of its bias (Nagel et
al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, arXiv:1906.04721, the empirical
way). The result is a float Model: its values carry scales, and its weights lie where a back end rounds to nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.core.repair import Repair
from edgekit.core.types import Integers, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.quantization import set_made_for, set_quant_params
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import constant, feeds_only, set_input_constant
from edgekit.passes.matrices import LayerMatrix, layer_matrix
from edgekit.passes.quantize.estimators import estimate_ranges
from edgekit.passes.quantize.insert import round_value
from edgekit.passes.quantize.placement import Placement, place
from edgekit.passes.quantize.ranges import params_of_range
from edgekit.passes.quantize.rounding import Moments, adapt, grid_steps, nearest
from edgekit.passes.walk import Walk, affordable

__all__ = ["RepairForInt8"]

_Array = np.ndarray[Any, Any]
# Of the places in sixteen images so many say as much as all of them.
_ROWS = 1024


class RepairForInt8(Pass):
    """Puts a Model into the int8 form of a back end."""

    name: ClassVar[str] = "repair-for-int8"
    keeps_function: ClassVar[bool] = False

    def __init__(self, repair: Repair, integers: Integers, plan: QuantPlan, samples: Mapping[str, _Array]) -> None:
        """How, and what for.

        Args:
            repair: what is to be done.
            integers: what int8 is to the back end.
            plan: the precision of each layer.
            samples: calibration inputs by name, (samples, …) each.
        """
        self._repair, self._integers, self._plan, self._samples = repair, integers, plan, samples

    def call(self, model: Model) -> PassResult:
        """Scales first; then each layer, from inputs to outputs."""
        ranges = estimate_ranges(model, self._samples, self._repair.ranges)
        params = {name: params_of_range(each, symmetric=self._integers.symmetric) for name, each in ranges.items()}
        placement = place(model, self._plan, params.__getitem__, floats=True)
        if self._repair.rounding == "adaptive" or self._repair.bias_correction:
            self._rebuild(model, placement)
        for value in [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]:
            set_quant_params(value, params.get(str(value.name)))
        set_made_for(model, self._integers.top)
        return PassResult(model, 1 + len(placement.values))

    def _rebuild(self, model: Model, placement: Placement) -> None:
        """Change the weights and biases of the layers that are int8."""
        before, rounded = model.clone(), _rounded(model, placement)
        samples = affordable(self._samples, before, model)
        there, here = Walk(before, samples), Walk(rounded, samples)
        originals, ours = ({str(node.name): node for node in each.graph} for each in (before, model))
        for node in list(rounded.graph):
            matrix = layer_matrix(node) if node.name in placement.layers else None
            if matrix is None:
                continue
            original, own = originals[str(node.name)], ours[str(node.name)]
            there.to(original)
            here.to(node)
            corrected = self._repair.bias_correction and _bias(node) is not None
            weights = self._on_grid(matrix, there, here, original, centred=corrected)
            _set_weights((node, own), weights)
            if corrected:
                shift = _mean_output(there, original) - _mean_output(here, node)
                _shift((node, own), shift)

    def _on_grid(self, matrix: LayerMatrix, there: Walk, here: Walk, original: ir.Node, *, centred: bool) -> _Array:
        top = self._integers.top
        if self._repair.rounding == "nearest":
            steps = [grid_steps(group, top) for group in matrix.weights]
            found = [nearest(group, step, top) * step for group, step in zip(matrix.weights, steps, strict=True)]
            return matrix.restored(np.asarray(found, np.float32))
        (before, after), moments = (original.inputs[0], matrix.node.inputs[0]), list[Moments]()
        assert before is not None
        assert after is not None
        for seed, (x, y) in enumerate(zip(there.here(before), here.here(after), strict=True)):
            rows = zip(matrix.rows(x, _ROWS, seed), matrix.rows(y, _ROWS, seed), strict=True)
            new = [Moments.of(one, other) for one, other in rows]
            moments = [old.joined(more) for old, more in zip(moments, new, strict=True)] if moments else new
        pairs = zip(matrix.weights, moments, strict=True)
        return matrix.restored(np.stack([adapt(group, each, top, centred=centred) for group, each in pairs]))


def _rounded(model: Model, placement: Placement) -> Model:
    """The network with its activations rounded, and its weights as they are."""
    rounded = model.clone()
    for value in [*rounded.graph.inputs, *(value for node in rounded.graph for value in node.outputs)]:
        name = str(value.name)
        if name in placement.values:
            round_value(rounded.graph, value, placement.values[name], placement.readers[name], np.uint8)
    return rounded


def _mean_output(walk: Walk, node: ir.Node) -> _Array:
    """Of each channel, (channels,), at the node that the walk stands before."""
    axis = 1 if node.op_type == "Conv" else -1
    total, count = np.zeros(()), 0
    for answer in walk.made_by(node):
        flat = np.moveaxis(answer, axis, -1).reshape(-1, answer.shape[axis])
        total, count = total + flat.sum(0, dtype=np.float64), count + len(flat)
    return np.asarray(total / count)


def _bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """Where the bias of a layer stands, or may stand: the node and the place among its inputs; None for nowhere."""
    if node.op_type != "MatMul":
        return node, 2
    readers = [use.node for use in node.outputs[0].uses()]
    if len(readers) != 1 or readers[0].op_type != "Add" or not feeds_only(node.outputs[0], readers[0]):
        return None
    place = 1 if readers[0].inputs[0] is node.outputs[0] else 0
    content, weights = constant(readers[0].inputs[place]), constant(node.inputs[1])
    alone = content is not None and weights is not None and content.shape[-1:] == weights.shape[-1:] == (content.size,)
    return (readers[0], place) if alone else None


def _set_weights(nodes: tuple[ir.Node, ...], weights: _Array) -> None:
    for node in nodes:
        set_input_constant(node, 1, weights, name=f"{node.name}/repaired_weights")


def _shift(nodes: tuple[ir.Node, ...], shift: _Array) -> None:
    for node in nodes:
        place = _bias(node)
        assert place is not None
        holder, at = place
        old = constant(holder.inputs[at]) if len(holder.inputs) > at and holder.inputs[at] is not None else None
        content = shift if old is None else (old.astype(np.float64) + shift).reshape(old.shape if old.size > 1 else -1)
        set_input_constant(holder, at, content.astype(np.float32), name=f"{node.name}/corrected_bias")
