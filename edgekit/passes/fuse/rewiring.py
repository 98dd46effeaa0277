"""The few moves that every fusion makes: read a constant, replace a constant, take a node out of the graph."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from itertools import chain, count
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = ["Array", "bypass", "constant", "feeds_only", "new_constant", "set_input_constant", "unique_node_name"]

Array = np.ndarray[Any, Any]


def constant(value: ir.Value | None) -> Array | None:
    """The content of an initializer; None for everything else, an initializer that is also a graph input included."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def feeds_only(value: ir.Value, node: ir.Node) -> bool:
    """Whether nothing but `node` reads `value`."""
    return not value.is_graph_output() and all(use.node is node for use in value.uses())


def new_constant(graph: ir.Graph, name: str, content: Array) -> ir.Value:
    """A new initializer called `name`, or that with a number if it is taken."""
    values = {value.name for node in graph for value in node.outputs} | {value.name for value in graph.inputs}
    name = _unique(name, values | set(graph.initializers))
    tensor = ir.tensor(np.require(content, requirements="C"), name=name)
    value = ir.val(name, dtype=tensor.dtype, shape=content.shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def unique_node_name(graph: ir.Graph, name: str) -> str:
    """`name`, or that with a number if a node has it."""
    return _unique(name, {node.name for node in graph})


def _unique(name: str, taken: AbstractSet[str | None]) -> str:
    return next(each for each in chain([name], (f"{name}_{at}" for at in count(1))) if each not in taken)


def set_input_constant(node: ir.Node, index: int, content: Array, *, name: str) -> None:
    """Make input `index` of `node` the constant `content`.

    An initializer that nothing else reads keeps its name; a shared one stays with its other readers, and `node` gets a
    new one called `name`, as does an input that was not there.
    """
    assert node.graph is not None
    old = node.inputs[index] if index < len(node.inputs) else None
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if old is not None and constant(old) is not None and feeds_only(old, node) and len(old.uses()) == 1:
        assert old.name is not None
        old.const_value = ir.tensor(np.require(content, requirements="C"), name=old.name)
        old.shape = ir.Shape(content.shape)
        return
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, new_constant(graph, name, content))


def bypass(node: ir.Node, by: ir.Value) -> bool:
    """Take `node` out: whoever read its only output reads `by`, which takes over the output's metadata.

    So a graph output keeps name and layout, and a value of a quantized source how it is stored.

    Returns:
        False, with nothing changed, where a graph output would become a graph input, a constant or another output.
    """
    output, graph = node.outputs[0], node.graph
    assert graph is not None
    is_output = output.is_graph_output()
    if is_output and (by.is_graph_output() or by.is_graph_input() or by.is_initializer()):
        return False
    output.replace_all_uses_with(by, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    by.metadata_props.update(output.metadata_props)
    if is_output:
        by.name = output.name
    return True
