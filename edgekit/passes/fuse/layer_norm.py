"""Layer normalization, taken apart by an exporter, becomes LayerNormalization (Ba et al., arXiv:1607.06450; opset 17).

    y = (x − m) / √(v + ε) · γ + β,    m and v: mean and variance of x over some axes

PyTorch writes it in this order, TensorFlow as x·s + (β − m·s) with s = γ/√(v + ε). Where the axes are not the last
ones, as behind a layout change, Transposes go around it. ONNX Script's rules know the last axis alone, of PyTorch's
order, and want γ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.passes.fuse.algebra import equal, same_shape, scalar, sole_maker
from edgekit.passes.fuse.rewiring import Array, constant, new_constant
from edgekit.passes.fuse.rule_pass import RootRule, RulePass, rules_for

__all__ = ["FuseLayerNorm"]


@dataclass(frozen=True)
class _Norm:
    """(`x` − mean) / √(variance + `epsilon`) · `scale` + `shift`; `nodes` are those that compute it."""

    x: ir.Value
    axes: tuple[int, ...]
    epsilon: float
    mean: ir.Value
    nodes: frozenset[ir.Node]
    scale: Array | None = None
    shift: Array | None = None
    name: str = ""


class _Decomposed(RootRule):
    replaces = ("Div", "Mul", "Add", "Sub")

    def find(self, node: ir.Node) -> _Norm | None:
        if len(node.inputs) != 2 or node.inputs[0] is None or node.inputs[1] is None:
            return None
        found = next(_readings(node), None)
        if found is None or not same_shape(found.x, node.outputs[0]) or not _closed(found.nodes, node):
            return None
        parameters = [figures for figures in (found.scale, found.shift) if figures is not None]
        if (
            0 in found.axes
            or _normalized(found) is None
            or any(_along(figures, found) is None for figures in parameters)
        ):
            return None
        return replace(found, name=node.name or "")

    def replacement(self, op: Any, found: _Norm) -> Any:
        shape = found.x.shape
        assert shape is not None
        order = [axis for axis in range(len(shape)) if axis not in found.axes] + list(found.axes)
        last = order == sorted(order)
        x = found.x if last else _transposed(op, found.x, order)
        scale = _along(np.ones((), np.float32) if found.scale is None else found.scale, found)
        inputs = [_parameter(found, "scale", scale)]
        if found.shift is not None:
            inputs.append(_parameter(found, "bias", _along(found.shift, found)))
        y = op.LayerNormalization(x, *inputs, axis=-len(found.axes), epsilon=found.epsilon)
        if last:
            return y
        y.shape, y.type = x.shape, x.type
        return _transposed(op, y, [int(place) for place in np.argsort(order)])


class _Parameters(RootRule):
    """A scale or shift along the normalized axes, behind a LayerNormalization, goes into it."""

    replaces = ("Mul", "Add")

    def find(self, node: ir.Node) -> tuple[ir.Node, Array, Array, str] | None:
        for value, other in (node.inputs, node.inputs[::-1]):
            norm, figures = sole_maker(value), constant(other)
            if norm is None or norm.op_type != "LayerNormalization" or figures is None or value is None:
                continue
            scale = constant(norm.inputs[1])
            bias = constant(norm.inputs[2]) if len(norm.inputs) > 2 else np.zeros_like(scale)
            wide = None if scale is None else _widened(figures, scale.shape)
            if scale is None or bias is None or wide is None or not same_shape(value, node.outputs[0]):
                continue
            new = (scale * wide, bias * wide) if node.op_type == "Mul" else (scale, bias + wide)
            return norm, *new, node.name or ""
        return None

    def replacement(self, op: Any, found: tuple[ir.Node, Array, Array, str]) -> Any:
        norm, scale, bias, name = found
        graph, (x, *_) = norm.graph, norm.inputs
        assert isinstance(graph, ir.Graph)
        inputs = [
            new_constant(graph, f"{name}/{role}", figures) for role, figures in (("scale", scale), ("bias", bias))
        ]
        return op.LayerNormalization(x, *inputs, **norm.attributes)


class FuseLayerNorm(RulePass):
    """Fuses the arithmetic of a layer normalization, and what scales and shifts its result, into LayerNormalization."""

    name = "fuse-layer-norm"
    rules = rules_for(_Decomposed, _Parameters)


def _readings(node: ir.Node) -> Iterator[_Norm]:
    """What `node` ends, read in either order of its operands."""
    first, second = node.inputs
    pairs = [(first, second)] if node.op_type in {"Div", "Sub"} else [(first, second), (second, first)]
    for one, other in pairs:
        found = _product(node, one, other) if node.op_type in {"Div", "Mul"} else _sum(node, one, other)
        if found is not None:
            yield replace(found, nodes=found.nodes | {node})


def _product(node: ir.Node, deviation: ir.Value | None, other: ir.Value | None) -> _Norm | None:
    """A product (x − m) · s, or quotient (x − m) / √(v + ε)."""
    found = _deviation_scale(other) if node.op_type == "Mul" else _deviation(other)
    subtraction = deviation.producer() if deviation is not None else None
    if found is None or subtraction is None or subtraction.op_type != "Sub":
        return None
    return _with(found, subtraction) if list(subtraction.inputs) == [found.x, found.mean] else None


def _sum(node: ir.Node, product: ir.Value | None, rest: ir.Value | None) -> _Norm | None:
    """A sum x·s + (β − m·s), or difference x·s − m·s."""
    scaled = product.producer() if product is not None else None
    if scaled is None or scaled.op_type != "Mul":
        return None
    for x, s in (scaled.inputs, scaled.inputs[::-1]):
        found = _deviation_scale(s)
        if found is None or found.x is not x:
            continue
        if node.op_type == "Sub":
            nodes = _is_product(rest, found.mean, s)
            return replace(found, nodes=found.nodes | nodes | {scaled}) if nodes else None
        offset = _offset(rest, found, s)
        return _with(offset, scaled) if offset is not None else None
    return None


def _offset(value: ir.Value | None, found: _Norm, s: ir.Value | None) -> _Norm | None:
    """`found`, shifted by β, where `value` is β − m·s, −m·s or (−m)·s."""
    node = value.producer() if value is not None else None
    match node.op_type if node is not None else None, list(node.inputs) if node is not None else []:
        case "Neg", [inner]:
            nodes = _is_product(inner, found.mean, s)
        case "Mul", [one, other]:
            pairs = ((one, other), (other, one))
            negated = next((v for v, rest in pairs if rest is s and v is not None), None)
            negation = negated.producer() if negated is not None else None
            wanted = negation is not None and negation.op_type == "Neg" and negation.inputs[0] is found.mean
            nodes = frozenset({negation}) if negation is not None and wanted else frozenset()
        case "Sub", [shift, inner] if constant(shift) is not None:
            nodes = _is_product(inner, found.mean, s)
            found = replace(found, shift=constant(shift))
        case "Add", [one, other] if found.shift is None and (constant(one) is None) != (constant(other) is None):
            shift, inner = (one, other) if constant(one) is not None else (other, one)
            offset = _offset(inner, replace(found, shift=constant(shift)), s)
            return _with(offset, node) if offset is not None and node is not None else None
        case _:
            return None
    return _with(replace(found, nodes=found.nodes | nodes), node) if nodes and node is not None else None


def _is_product(value: ir.Value | None, one: ir.Value, other: ir.Value | None) -> frozenset[ir.Node]:
    """The node that makes `value`, if it multiplies exactly these; or none."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Mul" or {*node.inputs} != {one, other}:
        return frozenset()
    return frozenset({node})


def _deviation_scale(value: ir.Value | None) -> _Norm | None:
    """The scale s = 1/√(v + ε), or γ times that."""
    node = value.producer() if value is not None else None
    if node is None:
        return None
    match node.op_type, list(node.inputs):
        case "Reciprocal", [root]:
            found = _deviation(root)
        case "Div", [one, root] if scalar(one) == 1:
            found = _deviation(root)
        case "Pow", [variance, exponent] if scalar(exponent) == -0.5:
            found = _variance(variance)
        case "Mul", [one, other] if (constant(one) is None) != (constant(other) is None):
            figures, inner = (one, other) if constant(one) is not None else (other, one)
            found = _deviation_scale(inner)
            found = replace(found, scale=constant(figures)) if found is not None and found.scale is None else None
        case _:
            return None
    return _with(found, node) if found is not None else None


def _deviation(value: ir.Value | None) -> _Norm | None:
    """The root √(v + ε)."""
    node = value.producer() if value is not None else None
    if node is None or not (node.op_type == "Sqrt" or (node.op_type == "Pow" and scalar(node.inputs[1]) == 0.5)):
        return None
    found = _variance(node.inputs[0])
    return _with(found, node) if found is not None else None


def _variance(value: ir.Value | None) -> _Norm | None:
    """The sum v + ε, with v the mean of (x − m)²."""
    addition = value.producer() if value is not None else None
    if addition is None or addition.op_type != "Add":
        return None
    for variance, other in (addition.inputs, addition.inputs[::-1]):
        mean, epsilon = variance.producer() if variance is not None else None, scalar(other)
        square = mean.inputs[0].producer() if mean is not None and mean.inputs and mean.inputs[0] is not None else None
        difference = _square_root(square)
        axes = _mean_axes(mean)
        if mean is None or square is None or difference is None or axes is None or epsilon is None or epsilon < 0:
            continue
        for x, m in (difference.inputs, difference.inputs[::-1]):
            maker = m.producer() if m is not None else None
            if m is None or maker is None or _mean_axes(maker) != axes or x is None or maker.inputs[0] is not x:
                continue
            return _Norm(x, axes, epsilon, m, frozenset({addition, mean, square, difference, maker}))
    return None


def _square_root(square: ir.Node | None) -> ir.Node | None:
    """The subtraction whose result `square` squares."""
    if square is None or len(square.inputs) != 2 or square.inputs[0] is None:
        return None
    twice = square.op_type == "Mul" and square.inputs[0] is square.inputs[1]
    if not twice and not (square.op_type == "Pow" and _is_two(square.inputs[1])):
        return None
    node = square.inputs[0].producer()
    return node if node is not None and node.op_type == "Sub" else None


def _is_two(value: ir.Value | None) -> bool:
    content = constant(value)
    return content is not None and content.size == 1 and equal(float(content.item()), 2)


def _mean_axes(node: ir.Node | None) -> tuple[int, ...] | None:
    """The axes over which `node` takes the mean, kept as axes of size 1; None if it does anything else."""
    if node is None or node.op_type != "ReduceMean" or node.domain or len(node.inputs) != 2:
        return None
    axes, shape = constant(node.inputs[1]), node.outputs[0].shape
    if axes is None or not axes.size or shape is None or node.attributes.get_int("keepdims", 1) != 1:
        return None
    return tuple(sorted({int(axis) % len(shape) for axis in axes}))


def _with(found: _Norm, node: ir.Node) -> _Norm:
    return replace(found, nodes=found.nodes | {node})


def _closed(nodes: frozenset[ir.Node], last: ir.Node) -> bool:
    """Whether nothing outside reads what `nodes` make, but for the result of `last`."""
    values = [value for node in nodes if node is not last for value in node.outputs]
    return all(not value.is_graph_output() and all(use.node in nodes for use in value.uses()) for value in values)


def _normalized(found: _Norm) -> tuple[int, ...] | None:
    """The sizes of the normalized axes; None where one is not fixed."""
    shape = found.x.shape
    sizes = [shape[axis] if shape is not None else None for axis in found.axes]
    fixed = tuple(size for size in sizes if isinstance(size, int))
    return fixed if len(fixed) == len(sizes) else None


def _along(figures: Array, found: _Norm) -> Array | None:
    """`figures`, which broadcast against x, as an array over the normalized axes alone; None if they vary elsewhere."""
    shape = found.x.shape
    assert shape is not None
    if figures.ndim > len(shape):
        return None
    wide = figures.reshape((1,) * (len(shape) - figures.ndim) + figures.shape)
    others = tuple(axis for axis in range(len(shape)) if axis not in found.axes)
    if any(wide.shape[axis] != 1 for axis in others):
        return None
    sizes = _normalized(found)
    return _widened(wide.squeeze(others), sizes) if sizes is not None else None


def _widened(figures: Array, shape: tuple[int, ...]) -> Array | None:
    """`figures` broadcast to `shape`; None if they would widen it, or vary along axes in front of it."""
    if figures.ndim > len(shape) and any(size != 1 for size in figures.shape[: figures.ndim - len(shape)]):
        return None
    kept = figures.reshape(figures.shape[-len(shape) :]) if figures.ndim > len(shape) else figures
    if any(size not in {1, wanted} for size, wanted in zip(kept.shape[::-1], shape[::-1], strict=False)):
        return None
    return np.broadcast_to(kept, shape).astype(np.float32)


def _parameter(found: _Norm, role: str, content: Array | None) -> ir.Value:
    graph = found.x.graph
    assert isinstance(graph, ir.Graph)
    assert content is not None
    return new_constant(graph, f"{found.name}/{role}", content)


def _transposed(op: Any, value: ir.Value, order: Sequence[int]) -> ir.Value:
    assert value.shape is not None
    result: ir.Value = op.Transpose(value, perm=list(order))
    result.shape, result.type = ir.Shape([value.shape[axis] for axis in order]), value.type
    return result
