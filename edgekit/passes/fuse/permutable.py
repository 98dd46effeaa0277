"""Which operators can work on a tensor whose axes are in another order, and how they are told.

A node computes y from x. With x = T x' and y = T y', T a Transpose by `order`, it can compute y' from x' where axis `a`
of y is axis `order[a]` of y': its attributes and constants are rearranged for that.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.passes.fuse.rewiring import Array, constant, new_constant, set_input_constant

__all__ = ["absorbs", "permutable", "permute", "rearranged"]

Order = tuple[int, ...]

_ELEMENTWISE = """
    Abs Add And Cast Ceil Celu Clip Cos Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
    HardSwish Identity IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mul Neg Not Or PRelu Pow Reciprocal Relu
    Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Swish Tanh ThresholdedRelu Where Xor
"""
_SIMPLE = frozenset(_ELEMENTWISE.split())
_ALONG_AXIS = {"ArgMax": 0, "ArgMin": 0, "Concat": 0, "LogSoftmax": -1, "Softmax": -1, "Split": 0}
_QUANTIZED = frozenset({"DequantizeLinear", "QuantizeLinear"})
_REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)
# Constants that list axes: the operator, and the input that does.
_LISTS_AXES = {"Pad": 3, "Slice": 3, **dict.fromkeys(_REDUCTIONS, 1)}
# Constants with one figure an axis, or as many as axes are listed: the operator, and the inputs that have them.
_PER_AXIS = {"Pad": (1,), "Resize": (2, 3), "Tile": (1,)}


def permutable(node: ir.Node, rank: int) -> bool:
    """Whether `node` can compute all its outputs, of `rank` axes, in another order of axes."""
    if node.domain or not node.inputs or any(_rank(value) != rank for value in node.outputs):
        return False
    if node.op_type in _SIMPLE:
        return all(value is None or _rank(value) == rank or _broadcasts(value, rank) for value in node.inputs)
    if node.op_type == "Concat":
        return all(_rank(value) == rank for value in node.inputs)
    if _rank(node.inputs[0]) != rank or not all(value is None or _is_constant(value) for value in node.inputs[1:]):
        return False
    match node.op_type:
        case "Resize":
            region = _content(node, 1)
            return region is None or not region.size
        case "DequantizeLinear" | "QuantizeLinear":
            return (_rank(node.inputs[1]) or 0) <= 1
        case op if op in _REDUCTIONS:
            return _axes(node) is not None
        case op:
            return op in _ALONG_AXIS or op in {"Pad", "Slice", "Tile"}


def absorbs(node: ir.Node, order: Order) -> bool:
    """Whether `node`, once it is told, gives the same from an input in another order: a reduction that drops axes.

    The axes that it keeps must come in the same order either way.
    """
    if node.domain or node.op_type not in _REDUCTIONS or node.attributes.get_int("keepdims", 1) != 0:
        return False
    axes = _axes(node)
    if axes is None or _rank(node.inputs[0]) != len(order):
        return False
    kept = [order[axis] for axis in range(len(order)) if axis not in axes]
    return kept == sorted(kept)


def permute(node: ir.Node, order: Order) -> None:
    """Rearrange the attributes and constants of `node` for data in the other order; its inputs are the caller's."""
    if node.op_type in _ALONG_AXIS or node.op_type in _QUANTIZED:
        axis: int = node.attributes.get_int("axis", _ALONG_AXIS.get(node.op_type, 1))
        if node.op_type not in _QUANTIZED or _rank(node.inputs[1]):
            node.attributes["axis"] = ir.AttrInt64("axis", order[axis])
    if node.op_type in _SIMPLE or node.op_type == "Concat":
        for index, value in enumerate(node.inputs):
            if value is not None and (content := constant(value)) is not None and content.size > 1:
                assert isinstance(node.graph, ir.Graph)
                wide = rearranged(content.reshape((1,) * (len(order) - content.ndim) + content.shape), order)
                node.replace_input_with(index, new_constant(node.graph, f"{value.name}/permuted", wide))
        return
    listed = _permute_listed(node, order)
    for index in _PER_AXIS.get(node.op_type, ()):
        if not listed and (figures := _content(node, index)) is not None and figures.size:
            places = np.argsort(order)
            pairs = figures.reshape(-1, len(order))[:, places]
            set_input_constant(node, index, pairs.reshape(figures.shape), name=f"{node.name}/permuted")


def _permute_listed(node: ir.Node, order: Order) -> bool:
    """Rename the axes that `node` lists, if it lists any."""
    if node.op_type == "Resize":
        axes = node.attributes.get_ints("axes", ())
        if axes:
            node.attributes["axes"] = ir.AttrInt64s("axes", [order[axis] for axis in axes])
        return bool(axes)
    index = _LISTS_AXES.get(node.op_type)
    listed = _content(node, index) if index is not None else None
    if index is None or (listed is None and node.op_type != "Slice"):
        return False
    starts = _content(node, 1)
    named = listed if listed is not None else np.arange(0 if starts is None else starts.size)
    content = np.array([order[axis] for axis in named], np.int64)
    set_input_constant(node, index, content, name=f"{node.name}/axes")
    return True


def rearranged(content: Array, order: Order) -> Array:
    """What a Transpose by `order` makes into `content`."""
    return content.transpose(np.argsort(order))


def _axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes that a reduction reduces; None where they are not constant, or all."""
    listed, rank = _content(node, 1), _rank(node.inputs[0])
    return tuple(int(axis) % rank for axis in listed) if listed is not None and listed.size and rank else None


def _content(node: ir.Node, index: int) -> Array | None:
    return constant(node.inputs[index]) if index < len(node.inputs) else None


def _is_constant(value: ir.Value) -> bool:
    return constant(value) is not None


def _rank(value: ir.Value | None) -> int | None:
    return len(value.shape) if value is not None and value.shape is not None else None


def _broadcasts(value: ir.Value, rank: int) -> bool:
    content = constant(value)
    return content is not None and content.ndim <= rank
