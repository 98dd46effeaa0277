"""Transposes that meet cancel or merge; those that would meet but for an elementwise op or a Concat move past it.

A Transpose sinks towards the outputs: f(T x) = T f(x) for elementwise f, its constants permuted back. The result is
kept only if fewer Transposes are left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import bypass, constant, new_constant, unique_node_name

__all__ = ["CancelTransposes"]

_ELEMENTWISE = """
    Abs Add And Cast Ceil Clip Div Elu Equal Erf Exp Floor Gelu Greater HardSigmoid HardSwish LeakyRelu Less Log Max
    Mean Min Mish Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Softplus Softsign Sqrt Sub Sum Tanh
    Where
"""
_SINKS_THROUGH = frozenset(_ELEMENTWISE.split()) | {"Concat"}


class CancelTransposes(Pass):
    """Cancels and merges Transposes, through elementwise ops and Concat where that makes them fewer."""

    name = "cancel-transposes"

    def call(self, model: Model) -> PassResult:
        """Merge and sink until nothing moves."""
        before = _count(model.graph)
        while sum(_merge(node) or _sink(node) for node in list(model.graph)):
            _remove_unread(model.graph)
        return PassResult(model, before - _count(model.graph))


def _count(graph: ir.Graph) -> int:
    return sum(node.op_type == "Transpose" for node in graph)


def _permutation(value: ir.Value | None) -> tuple[int, ...] | None:
    """The permutation of the Transpose that makes `value`; None if something else makes it."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.domain:
        return None
    rank = len(node.outputs[0].shape or ())
    return tuple(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def _merge(node: ir.Node) -> bool:
    """Replace a Transpose of a Transpose by one, and one that does nothing by nothing."""
    second = _permutation(node.outputs[0])
    source = node.inputs[0] if node.inputs else None
    if second is None or source is None:
        return False
    if second == tuple(range(len(second))):
        return bypass(node, source)
    first = _permutation(source)
    inner = source.producer()
    if first is None or inner is None or inner.inputs[0] is None:
        return False
    both = tuple(first[axis] for axis in second)
    if both == tuple(range(len(both))):
        return bypass(node, inner.inputs[0])
    node.replace_input_with(0, inner.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", both)
    return True


def _sink(node: ir.Node) -> bool:
    """Move the Transposes in front of `node` behind it, where all its inputs come from equal ones or are constants."""
    permutations = {p for value in node.inputs if (p := _permutation(value)) is not None}
    if node.domain or node.op_type not in _SINKS_THROUGH or len(permutations) != 1:
        return False
    (permutation,) = permutations
    rank, output = len(permutation), node.outputs[0]
    if any(not _movable(value, rank) for value in node.inputs) or len(output.shape or ()) != rank:
        return False
    for index, value in enumerate(node.inputs):
        if value is not None:
            node.replace_input_with(index, _before(node, value, permutation))
    if node.op_type == "Concat":
        axis = node.attributes.get_int("axis", 0)
        node.attributes["axis"] = ir.AttrInt64("axis", permutation[axis])
    _insert_behind(node, permutation)
    return True


def _movable(value: ir.Value | None, rank: int) -> bool:
    if value is None or _permutation(value) is not None:
        return True
    content = constant(value)
    return content is not None and content.ndim <= rank


def _before(node: ir.Node, value: ir.Value, permutation: Sequence[int]) -> ir.Value:
    """What `node` reads in place of `value`: the Transpose's own input, or the constant permuted back."""
    if _permutation(value) is not None:
        producer = value.producer()
        assert producer is not None
        assert producer.inputs[0] is not None
        return producer.inputs[0]
    content = constant(value)
    assert content is not None
    if content.size == 1:
        return value
    wide = content.reshape((1,) * (len(permutation) - content.ndim) + content.shape)
    assert isinstance(node.graph, ir.Graph)
    return new_constant(node.graph, f"{value.name}/permuted", wide.transpose(np.argsort(permutation)))


def _insert_behind(node: ir.Node, permutation: Sequence[int]) -> None:
    """`node`'s readers get a Transpose of its output, under the output's old name, layout and other metadata."""
    output, graph = node.outputs[0], node.graph
    assert isinstance(graph, ir.Graph)
    assert output.shape is not None
    name = output.name
    after = ir.val(None, type=output.type, shape=output.shape, metadata_props=dict(output.metadata_props))
    output.replace_all_uses_with(after, replace_graph_outputs=True)
    output.metadata_props.clear()
    output.shape = ir.Shape([output.shape[permutation.index(axis)] for axis in range(len(permutation))])
    output.name = f"{name}/permuted"
    after.name = name
    transpose = ir.node(
        "Transpose",
        [output],
        {"perm": list(permutation)},
        outputs=[after],
        name=unique_node_name(graph, f"{node.name}/transpose"),
    )
    graph.insert_after(node, transpose)


def _remove_unread(graph: ir.Graph) -> None:
    for node in reversed(list(graph)):
        if node.op_type == "Transpose" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)
