"""A fixed batch made free: no Reshape names it, and the network answers for two samples as it does for each alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import BATCH, Model
from edgekit.ir.run import max_relative, probe_specs, run
from edgekit.passes.normalise.shapes import Shapes, infer_shapes

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
        free = Model(model.proto.clone())
        _unname_batch(free.graph, shapes, batch)
        double = _shapes_or_none(free.proto, 2 * batch)
        if double is not None and _scales(free.graph.outputs, shapes, double, batch):
            _fill_shapes(free.graph, shapes, double, batch)
            if _agree(model, free, batch, seed):
                return free
    _fill_shapes(model.graph, shapes, shapes, 0)
    return model


def _unname_batch(graph: ir.Graph, shapes: Shapes, batch: int) -> None:
    """Reshapes take the batch from their input; resizes leave the first axis alone."""
    for node in graph:
        if node.op_type == "Reshape":
            data, shape = node.inputs
            target = shapes[node.outputs[0].name or ""]
            if data is None or shape is None or shape.const_value is None or not target or 0 in target:
                continue
            kept = shapes.get(data.name or "", ())[:1] == (batch,) == target[:1]
            _set_constant(graph, node, 1, [0 if kept else -1, *target[1:]])
            node.attributes.pop("allowzero", None)
        elif node.op_type == "Resize" and len(node.inputs) == 4 and "axes" not in node.attributes:
            sizes = ir.convenience.get_const_tensor(node.inputs[3]) if node.inputs[3] is not None else None
            if sizes is not None and sizes.size and sizes.numpy()[0] == batch:
                _set_constant(graph, node, 3, list(sizes.numpy()[1:]))
                node.attributes["axes"] = ir.AttrInt64s("axes", range(1, sizes.size))


def _set_constant(graph: ir.Graph, node: ir.Node, index: int, values: list[int]) -> None:
    """Give `node` an initializer of its own, named after it, as input `index`."""
    name = f"{node.outputs[0].name}/shape"
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
