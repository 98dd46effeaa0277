"""Formulas of scalars read off a graph: products, polynomials and affine maps, in whatever order they were written.

Each function walks backwards through nodes whose results nothing else reads (a fusion can replace only those), and
stops where something else begins. Constants must be single figures; they are compared with `equal`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.polynomial import polynomial as power_series

from edgekit.passes.fuse.rewiring import constant, feeds_only

__all__ = [
    "Affine",
    "Product",
    "affine",
    "equal",
    "gated",
    "maker",
    "polynomial",
    "product",
    "same_shape",
    "scalar",
    "sole_maker",
]

# A few roundings of a float32 constant, and nothing that could be another constant.
_TOLERANCE = 1e-6
_HIGHEST_DEGREE = 4


@dataclass(frozen=True)
class Product:
    """`coefficient` times all `factors`."""

    coefficient: float
    factors: tuple[ir.Value, ...]


@dataclass(frozen=True)
class Affine:
    """`scale`·`base` + `shift`; `reader` is the node of the formula that reads `base`."""

    scale: float
    base: ir.Value
    shift: float
    reader: ir.Node


def equal(figure: float, wanted: float) -> bool:
    """Whether `figure` is `wanted`, but for rounding to float32."""
    return math.isclose(figure, wanted, rel_tol=_TOLERANCE, abs_tol=1e-12)


def scalar(value: ir.Value | None) -> float | None:
    """The single figure that `value` holds, or None."""
    content = constant(value)
    return float(content.item()) if content is not None and content.size == 1 and content.dtype.kind == "f" else None


def maker(value: ir.Value | None, reader: ir.Node) -> ir.Node | None:
    """The standard operator that makes `value`, if nothing but `reader` reads it."""
    node = value.producer() if value is not None else None
    return node if value is not None and node is not None and not node.domain and feeds_only(value, reader) else None


def sole_maker(value: ir.Value | None) -> ir.Node | None:
    """The standard operator that makes `value`, if one node alone reads it."""
    readers = {use.node for use in value.uses()} if value is not None else set()
    return maker(value, readers.pop()) if len(readers) == 1 else None


def same_shape(one: ir.Value, other: ir.Value) -> bool:
    """Whether both shapes are known and the same; what a constant broadcasts to more axes is not."""
    return one.shape is not None and other.shape is not None and one.shape.dims == other.shape.dims


def product(node: ir.Node) -> Product:
    """The factors of what `node` makes, in order: Mul, Neg, and Div by a figure are taken apart."""
    match node.op_type, node.inputs:
        case "Mul", [left, right]:
            parts = [_factor(left, node), _factor(right, node)]
        case "Div", [left, right] if scalar(right):
            parts = [_factor(left, node), Product(1 / (scalar(right) or math.nan), ())]
        case "Neg", [operand]:
            parts = [_factor(operand, node), Product(-1.0, ())]
        case _:
            return Product(1.0, (node.outputs[0],))
    return Product(math.prod(part.coefficient for part in parts), tuple(f for part in parts for f in part.factors))


def _factor(value: ir.Value | None, reader: ir.Node) -> Product:
    assert value is not None
    figure, node = scalar(value), maker(value, reader)
    if figure is not None:
        return Product(figure, ())
    return product(node) if node is not None and node.op_type in {"Mul", "Div", "Neg"} else Product(1.0, (value,))


def gated(node: ir.Node) -> Iterator[tuple[float, ir.Value, ir.Node]]:
    """Each way to read what `node` makes as coefficient · x · gate: coefficient, x, and the node that makes the gate.

    Nothing else reads the gate, and x has the result's shape.
    """
    found = product(node)
    if len(found.factors) != 2:
        return
    for x, gate in (found.factors, found.factors[::-1]):
        inner = sole_maker(gate)
        if inner is not None and same_shape(x, node.outputs[0]):
            yield found.coefficient, x, inner


def affine(value: ir.Value, reader: ir.Node) -> Affine:
    """`value` taken apart as far as Add, Sub, Mul, Div and Neg with single figures go."""
    node = maker(value, reader)
    for index, operand in enumerate(node.inputs[:2] if node is not None else ()):
        other = scalar(node.inputs[1 - index]) if node is not None and len(node.inputs) == 2 else None
        step = _step(node.op_type, index, other) if node is not None else None
        if step is not None and operand is not None and node is not None and scalar(operand) is None:
            inner = affine(operand, node)
            scale, shift = step
            return Affine(scale * inner.scale, inner.base, scale * inner.shift + shift, inner.reader)
    return Affine(1.0, value, 0.0, reader)


def _step(op_type: str, index: int, other: float | None) -> tuple[float, float] | None:
    """Scale and shift that an operator with the figure `other` puts on its input `index`, or None."""
    match op_type, index, other:
        case "Neg", 0, None:
            return -1.0, 0.0
        case "Add", _, float():
            return 1.0, other
        case "Sub", 0, float():
            return 1.0, -other
        case "Sub", 1, float():
            return -1.0, other
        case "Mul", _, float():
            return other, 0.0
        case "Div", 0, float() if other:
            return 1 / other, 0.0
    return None


def polynomial(value: ir.Value | None, reader: ir.Node, x: ir.Value) -> Sequence[float] | None:
    """The coefficients, lowest degree first, of `value` as a polynomial in `x`; None if it is none of degree ≤ 4."""
    if value is x:
        return (0.0, 1.0)
    if (figure := scalar(value)) is not None:
        return (figure,)
    node = maker(value, reader)
    if node is None:
        return None
    parts = [polynomial(operand, node, x) for operand in node.inputs]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return _combined(node.op_type, known)


def _combined(op_type: str, parts: Sequence[Sequence[float]]) -> Sequence[float] | None:
    match op_type, parts:
        case "Add", [left, right]:
            result = power_series.polyadd(left, right)
        case "Sub", [left, right]:
            result = power_series.polysub(left, right)
        case "Mul", [left, right]:
            result = power_series.polymul(left, right)
        case "Div", [left, (divisor,)] if divisor:
            result = np.divide(left, divisor)
        case "Neg", [operand]:
            result = np.negative(operand)
        case "Pow", [operand, (exponent,)] if exponent in {1, 2, 3}:
            result = power_series.polypow(operand, int(exponent))
        case _:
            return None
    return tuple(map(float, result)) if len(result) <= _HIGHEST_DEGREE + 1 else None
