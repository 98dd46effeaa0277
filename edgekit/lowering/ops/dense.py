"""Gemm and MatMul."""

from __future__ import annotations

from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []


@lowers("Gemm")
def gemm(node: Node, a: Laid, b: Laid, c: Laid | None = None) -> Laid:
    """α·A'·B' + β·C. TensorFlow scales the constants when the graph is converted."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    left, right = a.in_logical_order() if node.integer("transA") else None, _value(b)
    if node.integer("transB"):
        right = tf.transpose(right)
    if left is None:
        left, right = _take_up_flattening(a, right, constant=b.constant)
    if alpha != 1.0:
        right = tf.multiply(right, alpha)
    product = tf.matmul(left, right, transpose_a=bool(node.integer("transA")))
    if c is None:
        return Laid.logical(product, node.output_shape)
    addend = _value(c) if beta == 1.0 else _value(c) * beta
    return Laid.logical(_add(product, addend, c), node.output_shape)


@lowers("MatMul")
def matmul(node: Node, a: Laid, b: Laid) -> Laid:
    """Matrix product with numpy's broadcasting."""
    if a.flattened is not None:
        left, right = _take_up_flattening(a, _value(b), constant=b.constant and b.rank == 2)
        return Laid.logical(tf.matmul(left, right), node.output_shape)
    left, left_lies = _matrix(a)
    right, right_lies = _matrix(b)
    if a.rank == 1:
        left = left[None, :]
    if b.rank == 1:
        right = right[:, None]
    product = tf.matmul(left, right, transpose_a=left_lies, transpose_b=right_lies)
    if a.rank == 1:
        product = tf.squeeze(product, -2)
    if b.rank == 1:
        product = tf.squeeze(product, -1)
    return Laid.logical(product, node.output_shape)


def _refuse_einsum(node: Node) -> str | None:
    terms = [term.strip() for term in node.text("equation", "").split("->")[0].split(",")]
    odd = len(terms) > 2 or any("." in term or len(set(term)) < len(term) for term in terms)
    return f"Write {node.name!r} as products, sums and transposes: its equation is too general." if odd else None


@lowers("Einsum", refuse=_refuse_einsum)
def einsum(node: Node, *operands: Laid) -> Laid:
    """Sums of products over named axes, of one or two tensors; the converter makes a matrix product of it."""
    values = [operand.in_logical_order() for operand in operands]
    return Laid.logical(tf.einsum(node.text("equation", "").replace(" ", ""), *values), node.output_shape)


def _matrix(operand: Laid) -> tuple[Any, bool]:
    """The operand, and whether its matrices lie on their side: a product takes them so."""
    turned = (*range(operand.rank - 2), operand.rank - 1, operand.rank - 2)
    if operand.rank >= 2 and operand.order == turned:
        return operand.value, True
    return operand.in_logical_order(), False


def _take_up_flattening(a: Laid, weight: Any, *, constant: bool) -> tuple[Any, Any]:
    """The left factor as it lies, and the weight (F, K) with its rows in the same order."""
    if a.flattened is None or not constant:
        return a.in_logical_order(), weight
    source = a.flattened
    features, units = weight.shape.as_list()
    rows = tf.reshape(weight, [*source.shape[1:], units])
    inner = [axis - 1 for axis in source.order[1:]]
    return a.value, tf.reshape(tf.transpose(rows, [*inner, len(inner)]), (features, units))


def _add(product: Any, addend: Any, c: Laid) -> Any:
    if c.constant and c.rank == 1 and c.shape[0] == product.shape[-1]:
        return tf.nn.bias_add(product, addend)
    return product + addend


def _value(operand: Laid) -> Any:
    return operand.value if operand.constant else operand.in_logical_order()
