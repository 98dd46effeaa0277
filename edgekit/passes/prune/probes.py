"""Probes: each kind of layer of a Model as a small network of its own, at a few sizes, for a clock to time.

Timing every layer alone, at some widths, and reckoning the rest between them, is how NetAdapt (Yang et al., ECCV 2018,
arXiv:1804.03230) makes a network meet a latency; here a layer is timed over the sizes of both of its ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.types import Layout
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model, set_layout
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.layers import WeightAxis, layers, name_of
from edgekit.passes.prune.rules import shape_of

__all__ = ["COPIES", "Grid", "Probe", "idle_network", "probes"]

# Layers of a probe, side by side: they share what brings the input in, and into the layout and type of the kernels.
COPIES = 4
# At which shares of an axis to probe: the first of these that needs no more than so many networks.
_SHARES = ((1.0, 0.75, 0.5, 0.25), (1.0, 0.5, 0.25), (1.0, 0.5))
_MOST = 80

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Probe:
    """A layer at one size.

    Attributes:
        op: the operator.
        attributes: its attributes, each serialised.
        data, weights: shapes; None is the batch.
        made: how many channels it makes.
        beside: the axes of its output that are neither batch nor channels.
    """

    op: str
    attributes: tuple[bytes, ...]
    data: Shape
    weights: tuple[int, ...]
    made: int
    beside: tuple[int, ...]

    def model(self) -> Model:
        """`COPIES` such layers of one input, with random weights, a bias and a Relu, which runtimes make one with them.

        The outputs are one place of each channel: what comes behind the layers costs next to nothing.
        """
        random = np.random.default_rng(0)
        spread = math.sqrt(self.made / max(math.prod(self.weights), 1))
        constants = {
            "starts": np.zeros(len(self.beside), np.int64),
            "ends": np.ones(len(self.beside), np.int64),
            "axes": np.array(self.beside, np.int64),
        }
        copies = [list(self._nodes(copy)) for copy in range(COPIES)]
        for copy in range(COPIES):
            for name, shape in ((f"weights{copy}", self.weights), (f"bias{copy}", (self.made,))):
                constants[name] = random.normal(0, spread, shape).astype(np.float32)
        nodes = list(itertools.chain.from_iterable(copies))
        return _model(self.data, nodes, constants, [each[-1].output[0] for each in copies])

    def _nodes(self, copy: int) -> Iterator[onnx.NodeProto]:
        made, weights, bias = f"made{copy}", f"weights{copy}", f"bias{copy}"
        if self.op == "MatMul":
            yield helper.make_node("MatMul", ["input", weights], [f"product{copy}"], f"product{copy}")
            yield helper.make_node("Add", [f"product{copy}", bias], [made], made)
        else:
            layer = helper.make_node(self.op, ["input", weights, bias], [made], made)
            layer.attribute.extend(onnx.AttributeProto.FromString(each) for each in self.attributes)
            yield layer
        yield helper.make_node("Relu", [made], [f"active{copy}"], f"active{copy}")
        if self.beside:
            inputs = [f"active{copy}", "starts", "ends", "axes"]
            yield helper.make_node("Slice", inputs, [f"output{copy}"], f"output{copy}")


@dataclass(frozen=True)
class Grid:
    """The probes of a layer.

    Attributes:
        sizes: of the axis of its weights that makes channels, and of the one that reads them, if there is one: the
            probed sizes, ascending; the whole one alone where no channel can go.
        probes: numbers of the probes, one a combination of sizes, the last axis changing fastest.
    """

    sizes: tuple[tuple[int, ...], ...]
    probes: tuple[int, ...]


def probes(model: Model, dependencies: Dependencies, multiple: int) -> tuple[tuple[Probe, ...], dict[str, Grid]]:
    """What to time, and for each layer with weights which of these are its own.

    A layer is probed at some sizes of each end that can shrink. Layers that are alike share their probes.

    Args:
        model: what `dependencies` was found out about.
        dependencies: from `analyse`.
        multiple: sizes are multiples of it where they can be.
    """
    shrinking = {int(root) for group in dependencies.groups for root in group.roots}

    def sizes(end: WeightAxis, shares: Sequence[float]) -> tuple[int, ...]:
        size, roots = int(shape_of(end.weights)[end.axis] or 0), dependencies.roots(str(end.weights.name), end.axis)
        fixed = roots is None or shrinking.isdisjoint(roots.tolist())
        return (size,) if fixed else tuple(sorted({_aligned(share * size, size, multiple) for share in shares}))

    for shares in _SHARES:
        numbers: dict[Probe, int] = {}
        grids: dict[str, Grid] = {}
        for node, makes, reads in layers(model.graph):
            ends = [makes] if reads is None else [makes, reads]
            grid = [sizes(end, shares) for end in ends]
            found = [_probe(node, ends, place) for place in itertools.product(*grid)]
            grids[name_of(node)] = Grid(tuple(grid), tuple(numbers.setdefault(each, len(numbers)) for each in found))
        if len(numbers) <= _MOST:
            break
    return tuple(numbers), grids


def idle_network() -> Model:
    """A network that does next to nothing: what it takes, every network takes."""
    return _model((None, 8), [helper.make_node("Relu", ["input"], ["active"], "active")], {}, ["active"])


def _aligned(wanted: float, size: int, multiple: int) -> int:
    """The nearest multiple, or of a small axis the nearest of a half, a quarter, …; `size` itself always counts."""
    while multiple > 1 and multiple >= size:
        multiple //= 2
    return size if wanted >= size else max(round(wanted / multiple), 1) * multiple


def _probe(node: ir.Node, ends: Sequence[WeightAxis], sizes: Sequence[int]) -> Probe:
    """The layer with so many channels on the axes `ends` of its weights."""
    data, weights = node.inputs[0], ends[0].weights
    assert data is not None
    channels_at = ends[-1].data_axis if len(ends) > 1 else 1
    shape, full, before = list(shape_of(data)), list(shape_of(weights)), [int(size or 0) for size in shape_of(weights)]
    for end, size in zip(ends, sizes, strict=True):
        full[end.axis] = size
    # A layer that works group by group reads more channels than its weights have on that axis.
    channels = int(shape[channels_at] or 0)
    shape[channels_at] = channels * int(full[ends[-1].axis] or 0) // before[ends[-1].axis]
    attributes = {name: ir.to_proto(attribute) for name, attribute in node.attributes.items()}
    groups = node.attributes.get_int("group", 1)
    if groups == channels > 1:
        attributes["group"] = helper.make_attribute("group", shape[channels_at])
        groups = int(shape[channels_at] or 1)
    made = int(full[ends[0].axis] or 0) * (groups if node.op_type == "ConvTranspose" else 1)
    rank, made_at = len(shape_of(node.outputs[0])), ends[0].data_axis
    return Probe(
        op=node.op_type,
        attributes=tuple(attributes[name].SerializeToString(deterministic=True) for name in sorted(attributes)),
        data=tuple(shape),
        weights=tuple(int(size or 0) for size in full),
        made=made,
        beside=tuple(axis for axis in range(1, rank) if axis != made_at % rank),
    )


def _model(
    data: Shape, nodes: Sequence[onnx.NodeProto], constants: dict[str, np.ndarray[Any, Any]], outputs: Sequence[str]
) -> Model:
    shape = [BATCH if size is None else size for size in data]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(content, name) for name, content in constants.items() if content.size],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model = Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)))
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None and len(value.shape) == len(Layout.NCHW.value):
            set_layout(value, Layout.NCHW)
    return model
