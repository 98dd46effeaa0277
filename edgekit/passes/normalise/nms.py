"""Non-maximum suppression ends a detector with results whose number depends on the data: the graph is cut before it.

What goes into NonMaxSuppression (boxes and scores, which have fixed shapes) becomes outputs; it, and whatever needs its
answer, goes. A program does that step on the device's CPU, with the attributes that the cut records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

__all__ = ["Cut", "cut_nms"]

_OP = "NonMaxSuppression"
_DATA = ("boxes", "scores")
_FIGURES = ("max_output_boxes_per_class", "iou_threshold", "score_threshold")


@dataclass(frozen=True)
class Cut:
    """One operator that was cut off.

    Attributes:
        op: the operator.
        layer: the name of its node.
        outputs: for each output of the network that fed it: what it is, "boxes" or "scores".
        constants: likewise for what is the same for every input, and so no output: the tensor's name in the file.
        attributes: the figures that it was called with, as ONNX names them; None where they depend on the data.
        dropped: the file's outputs that needed its answer.
    """

    op: str
    layer: str
    outputs: Mapping[str, str]
    constants: Mapping[str, str]
    attributes: Mapping[str, float | None]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        """For the user: what is missing, and how to make up for it."""
        figures = ", ".join(f"{name} {value:g}" for name, value in self.attributes.items() if value is not None)
        constants = "".join(f"; its {what} are the constant {name!r}" for name, what in self.constants.items())
        return (
            f"{self.op} {self.layer!r} and what follows it ({', '.join(self.dropped) or 'no output'}) are cut off, "
            f"because the size of their results depends on the data. Do that step in your program, on the outputs "
            f"{', '.join(self.outputs)}, with {figures or 'figures of your own'}{constants}"
        )


def cut_nms(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, tuple[Cut, ...]]:
    """Cut a network before its NonMaxSuppression, if it has any.

    Args:
        proto: local functions inlined. It stays as it is.

    Returns:
        The network without NonMaxSuppression and what needs it; all of the network, with the same outputs as that; and
        what was cut. Outputs that need no NonMaxSuppression come first, under their names; then `boxes` and `scores`,
        numbered where there are several.
    """
    graph = proto.graph
    fed = _reached(graph, {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer})
    found = [node for node in graph.node if node.op_type == _OP and fed & set(node.input[:2])]
    if not found:
        return proto, proto, ()
    answered = _reached(graph, {output for node in found for output in node.output})
    # One that needs another's answer goes with it.
    found = [node for node in found if not answered & set(node.input)]
    kept = [value for value in graph.output if value.name not in answered]
    dropped = tuple(value.name for value in graph.output if value.name in answered)
    names = _output_names(graph, found, fed, {value.name for value in kept})
    whole = _with_outputs(proto, kept, names)
    return _pruned(whole), whole, tuple(_cut(graph, node, names, fed, dropped) for node in found)


def _reached(graph: onnx.GraphProto, start: Iterable[str]) -> set[str]:
    """The values of `start`, and all that are computed from them."""
    reached = set(start)
    for node in graph.node:
        if reached.intersection(_reads(node)):
            reached.update(node.output)
    return reached - {""}


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its subgraphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


def _output_names(
    graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], fed: set[str], outputs: set[str]
) -> dict[str, str]:
    """The name that each tensor which feeds one of `nodes` has as an output; an output keeps its own."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {v.name for v in graph.input}
    names: dict[str, str] = {}
    for node in nodes:
        for tensor, what in zip(node.input[:2], _DATA, strict=True):
            if tensor in fed and tensor not in names:
                numbered = (what, *(f"{what}_{i}" for i in range(1, len(taken) + 2)))
                free = next(name for name in numbered if name == tensor or name not in taken)
                names[tensor] = tensor if tensor in outputs else free
                taken.add(names[tensor])
    return names


def _with_outputs(
    proto: onnx.ModelProto, kept: Iterable[onnx.ValueInfoProto], names: Mapping[str, str]
) -> onnx.ModelProto:
    """A copy whose outputs are `kept` and the tensors that `names` renames."""
    kept = list(kept)
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    for tensor, name in names.items():
        if name != tensor:
            copy.graph.node.append(helper.make_node("Identity", [tensor], [name]))
        if name not in {value.name for value in kept}:
            copy.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 3))
    return copy


def _pruned(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the nodes and weights that no output needs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    needed = {value.name for value in copy.graph.output}
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed.update(_reads(node))
    nodes = [node for node in proto.graph.node if needed.intersection(node.output)]
    weights = [tensor for tensor in proto.graph.initializer if tensor.name in needed]
    for field, content in (("node", nodes), ("initializer", weights)):
        copy.graph.ClearField(field)
        getattr(copy.graph, field).extend(content)
    return copy


def _cut(
    graph: onnx.GraphProto, node: onnx.NodeProto, names: Mapping[str, str], fed: set[str], dropped: tuple[str, ...]
) -> Cut:
    figures: dict[str, float | None] = {"center_point_box": 0}
    figures |= {attribute.name: attribute.i for attribute in node.attribute}
    inputs = dict(zip(_FIGURES, node.input[2:], strict=False))
    figures |= {name: _figure(graph, inputs[name]) for name in _FIGURES if inputs.get(name)}
    data = list(zip(node.input[:2], _DATA, strict=True))
    return Cut(
        op=_OP,
        layer=node.name or node.output[0],
        outputs={names[tensor]: what for tensor, what in data if tensor in fed},
        constants={tensor: what for tensor, what in data if tensor not in fed},
        attributes=figures,
        dropped=dropped,
    )


def _figure(graph: onnx.GraphProto, name: str) -> float | None:
    """The single figure in a constant; None for what is computed."""
    makers = (node for node in graph.node if node.op_type == "Constant" and node.output[0] == name)
    made = (attribute.t for node in makers for attribute in node.attribute if attribute.name == "value")
    tensor = next((tensor for tensor in graph.initializer if tensor.name == name), None) or next(made, None)
    return float(numpy_helper.to_array(tensor).item()) if tensor is not None else None
