"""A fixed batch made free: no Reshape names it, and the network answers for two samples as it does for each alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import BATCH, Model
from edgekit.ir.run import max_relative, probe_specs, run
from edgekit.passes.normalise.shapes import Shapes, infer_shapes, known_shapes

__all__ = ["free_batch"]

_TOLERANCE = 1e-4


def free_batch(model: Model, seed: int) -> Model:
    """`model` with a symbolic batch, or with its fixed one where the network really depends on it.

    Args:
        model: every input has a static shape.
        seed: seed of the inputs on which the two are compared.

    Returns:
        A model whose values all have shapes.
    """
    shapes = infer_shapes(model.proto)
    batches = {value.shape[0] if value.shape else None for value in model.graph.inputs}
    batch = batches.pop() if len(batches) == 1 else None
    if isinstance(batch, int):
        for unname_reshapes in (_batch_in_front, _batch_where_it_is, _batch_in_open_axes):
            free = Model(model.proto.clone())
            _unname_batch(free.graph, shapes, batch)
            unname_reshapes(free, shapes, batch)
            double = _shapes_or_none(free.proto, 2 * batch)
            if double is not None and _scales(free.graph.outputs, shapes, double, batch):
                _fill_shapes(free.graph, shapes, double, batch)
                if _agree(model, free, batch, seed):
                    return free
    _fill_shapes(model.graph, shapes, shapes, 0)
    return model


def _unname_batch(graph: ir.Graph, shapes: Shapes, batch: int) -> None:
    """Resizes leave the first axis alone; whole sequences are reversed without a length for each sample."""
    for node in graph:
        if node.op_type == "Resize" and len(node.inputs) == 4 and "axes" not in node.attributes:
            sizes = ir.convenience.get_const_tensor(node.inputs[3]) if node.inputs[3] is not None else None
            if sizes is not None and sizes.size and sizes.numpy()[0] == batch:
                _set_constant(graph, node, 3, list(sizes.numpy()[1:]))
                node.attributes["axes"] = ir.AttrInt64s("axes", range(1, sizes.size))
        elif node.op_type == "ReverseSequence":
            _reverse_whole(graph, node, shapes)


def _reverse_whole(graph: ir.Graph, node: ir.Node, shapes: Shapes) -> None:
    """A ReverseSequence of full lengths as a Slice with the step −1."""
    data, lengths = node.inputs
    axis = node.attributes.get_int("time_axis", 0)
    if data is None or lengths is None or lengths.const_value is None:
        return
    if not (lengths.const_value.numpy() == shapes[data.name or ""][axis]).all():
        return
    node.op_type = "Slice"
    node.attributes.clear()
    node.resize_inputs(5)
    last = np.iinfo(np.int64).min + 1
    for index, value in enumerate((-1, last, axis, -1), start=1):
        _set_constant(graph, node, index, [value], role=("starts", "ends", "axes", "steps")[index - 1])


def _batch_in_front(free: Model, shapes: Shapes, batch: int) -> None:
    """Reshapes take the batch from their input's first axis, or else leave their own first axis open."""
    for node, target in _reshapes(free.graph, shapes):
        data = node.inputs[0]
        assert data is not None
        kept = shapes.get(data.name or "", ())[:1] == (batch,) == target[:1]
        _open_axis(free.graph, node, [0 if kept else -1, *target[1:]])


def _batch_in_open_axes(free: Model, shapes: Shapes, batch: int) -> None:
    """Reshapes keep the axis that they leave open themselves: heads of attention merge with the batch, and part."""
    _batch_where_it_is(free, shapes, batch, keep_open=True)


def _batch_where_it_is(free: Model, shapes: Shapes, batch: int, *, keep_open: bool = False) -> None:
    """Reshapes leave that axis open which begins where the batch does in their input, second in recurrent cells."""
    for node, target in _reshapes(free.graph, shapes):
        data, shape = node.inputs
        assert data is not None
        if keep_open and shape is not None and shape.const_value is not None and -1 in shape.const_value.numpy():
            continue
        single, double = shapes[data.name or ""], known_shapes(free.proto, 2 * batch).get(data.name or "", ())
        changed = [axis for axis, pair in enumerate(zip(single, double, strict=False)) if pair[0] != pair[1]]
        if len(changed) != 1:
            continue
        before = math.prod(single[: changed[0]])
        axes = [axis for axis, size in enumerate(target) if math.prod(target[:axis]) == before and size % batch == 0]
        if axes:
            _open_axis(free.graph, node, [-1 if axis == axes[0] else size for axis, size in enumerate(target)])


def _reshapes(graph: ir.Graph, shapes: Shapes) -> Iterator[tuple[ir.Node, tuple[int, ...]]]:
    """Each Reshape to a constant shape without empty axes, and that shape."""
    for node in graph:
        target = shapes.get(node.outputs[0].name or "")
        if node.op_type == "Reshape" and target and 0 not in target:
            data, shape = node.inputs
            if data is not None and shape is not None and shape.const_value is not None:
                yield node, target


def _open_axis(graph: ir.Graph, node: ir.Node, target: list[int]) -> None:
    _set_constant(graph, node, 1, target)
    node.attributes.pop("allowzero", None)


def _set_constant(graph: ir.Graph, node: ir.Node, index: int, values: list[int], role: str = "shape") -> None:
    """Give `node` an initializer of its own, named after it, as input `index`."""
    name = f"{node.outputs[0].name}/{role}"
    constant = ir.val(name, const_value=ir.tensor(np.array(values, np.int64), name=name))
    graph.register_initializer(constant)
    old = node.inputs[index]
    node.replace_input_with(index, constant)
    if old is not None and not old.uses():
        graph.initializers.pop(old.name or "", None)


def _shapes_or_none(model: ir.Model, batch: int) -> Shapes | None:
    """The shapes at another batch, or None where they contradict each other."""
    try:
        return infer_shapes(model, batch)
    except Exception:  # noqa: BLE001 - onnx raises its own kind for every contradiction
        return None


def _scales(outputs: Sequence[ir.Value], single: Shapes, double: Shapes, batch: int) -> bool:
    """Whether every output has the batch in front, and nowhere else."""
    names = [value.name or "" for value in outputs]
    return all(single[name][:1] == (batch,) and double[name] == (2 * batch, *single[name][1:]) for name in names)


def _fill_shapes(graph: ir.Graph, single: Shapes, double: Shapes, batch: int) -> None:
    """Give every value its shape; the axes that differ between the two batches carry the batch."""
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        name = value.name or ""
        if name in single:
            pairs = zip(single[name], double[name], strict=True)
            value.shape = ir.Shape([a if a == b else _multiple(a // batch) for a, b in pairs])


def _multiple(factor: int) -> str:
    return BATCH if factor == 1 else f"{factor}*{BATCH}"


def _agree(fixed: Model, free: Model, batch: int, seed: int) -> bool:
    """Whether two batches at once give what each gives alone."""
    feeds = probe_specs(fixed.inputs, seed, 2 * batch)
    try:
        return max_relative(run(free, feeds), run(fixed, feeds)) <= _TOLERANCE
    except Exception:  # noqa: BLE001 - the runtime refuses a batch that the network can't take
        return False
