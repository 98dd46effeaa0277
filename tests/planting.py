"""Faults planted in a network that answers what it did, and that int8 breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.equalise.scale_classes import ScaleClass, scale_classes, scaled
from edgekit.passes.fuse.rewiring import constant, new_constant, set_input_constant
from edgekit.passes.layer_weights import set_weights

__all__ = ["classes_of", "outlier", "rescaled", "wide_softmax"]


def classes_of(model: Model) -> dict[str, ScaleClass]:
    """Channels whose scale is free, by the name of the first layer that makes them."""
    makers = {str(value.name): str(node.name) for node in model.graph for value in node.outputs}
    return {makers[each.values[0][0]]: each for each in scale_classes(model)}


def rescaled(model: Model, layer: str, channel: int, by: float = 1000.0) -> tuple[Model, set[str]]:
    """A copy of `model` with a channel of `layer` `by` times as large, and the weights that read it as much smaller.

    Returns:
        It, and the names of the layers at fault: those that make the channel or read it.
    """
    model = model.clone()
    planted = classes_of(model)[layer]
    scales = np.ones(planted.size)
    scales[channel] = by
    for axis in planted.axes:
        content = model.graph.initializers[axis.constant].const_value
        assert content is not None
        set_weights(model, axis.constant, scaled(content.numpy(), axis, scales))
    names = {name for name, _ in planted.values}
    values = {value for node in model.graph for value in node.outputs if value.name in names}
    touched = {value.producer() for value in values} | {use.node for value in values for use in value.uses()}
    return model, {str(node.name) for node in touched if node is not None}


def outlier(model: Model, layer: str, channel: int, by: float = 1000.0) -> Model:
    """A copy of `model` in which a channel of what `layer` makes lies `by` above where it did, until it is read.

    Args:
        layer: a convolution or matrix product whose result nothing but its bias changes.
    """
    model = model.clone()
    node = next(node for node in model.graph if node.name == layer)
    result, bias = node.outputs[0], constant(node.inputs[2])
    assert bias is not None
    shift = np.zeros_like(bias)
    shift[channel] = by
    readers = list(result.uses())
    set_input_constant(node, 2, bias + shift, name=f"{layer}/bias")
    along = [-1 if at == 1 else 1 for at in range(len(result.shape or ()))]
    back = new_constant(model.graph, f"{layer}/shift", shift.reshape(along))
    undo = ir.node("Sub", [result, back], name=f"{layer}/undo")
    restored = undo.outputs[0]
    restored.name, restored.dtype, restored.shape = f"{result.name}/undone", ir.DataType.FLOAT, result.shape
    model.graph.insert_after(node, undo)
    for use in readers:
        use.node.replace_input_with(use.idx, restored)
    return model


def wide_softmax(model: Model, copies: int = 100, flatness: float = 0.1) -> Model:
    """A copy of `model`, a classifier that ends in Gemm and Softmax, in which each class is `copies` classes.

    Class c becomes c·copies … (c+1)·copies − 1, the last of which is the likeliest; `flatness` scales the logits. So
    every probability is smaller than a step of int8.
    """
    model = model.clone()
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    gemm = softmax.inputs[0].producer() if softmax.inputs[0] is not None else None
    assert gemm is not None
    weights, bias = constant(gemm.inputs[1]), constant(gemm.inputs[2])
    assert weights is not None
    assert bias is not None
    axis = 0 if gemm.attributes.get_int("transB", 0) else 1
    rising = np.tile(np.linspace(-1, 0, copies, dtype=np.float32), len(bias))
    set_input_constant(gemm, 1, flatness * weights.repeat(copies, axis), name="wide/weights")
    set_input_constant(gemm, 2, flatness * bias.repeat(copies) + rising, name="wide/bias")
    for value in (gemm.outputs[0], softmax.outputs[0]):
        value.shape = ir.Shape([value.shape[0] if value.shape else None, len(rising)])
    return model


def wide_labels(labels: np.ndarray[Any, Any], copies: int = 100) -> np.ndarray[Any, Any]:
    """The labels of the samples for `wide_softmax`."""
    return labels * copies + copies - 1
