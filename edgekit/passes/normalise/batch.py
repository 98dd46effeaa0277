"""A fixed batch made free: no Reshape names it, and the network answers for two samples as it does for each alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import EdgekitError
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
        if double is not None and _scales(free, shapes, double, batch):
            _fill_shapes(free.graph, shapes, double, batch)
            if _agree(model, free, batch, seed):
                return free
    _fill_shapes(model.graph, shapes, shapes, 0)
    return model


def _unname_batch(graph: ir.Graph, shapes: Shapes, batch: int) -> None:
    """Reshapes take the batch from their input; resizes leave the first axis alone."""
    for node in graph:
        if node.op_type == "Reshape":
            source, target = (shapes.get(value.name or "", ()) for value in (node.inputs[0], node.outputs[0]))  # type: ignore[union-attr]
            if not target or 0 in target or node.inputs[1] is None or node.inputs[1].const_value is None:
                continue
            kept = bool(source) and source[0] == target[0] == batch
            _set_constant(graph, node, 1, [0 if kept else -1, *target[1:]])
            node.attributes.pop("allowzero", None)
        elif node.op_type == "Resize" and len(node.inputs) == 4 and "axes" not in node.attributes:
            sizes = node.inputs[3].const_value if node.inputs[3] is not None else None
            if sizes is not None and sizes.numpy()[0] == batch:
                _set_constant(graph, node, 3, list(sizes.numpy()[1:]))
                node.attributes["axes"] = ir.AttrInt64s("axes", range(1, len(sizes.numpy())))


def _set_constant(graph: ir.Graph, node: ir.Node, index: int, values: list[int]) -> None:
    """Give `node` an initializer of its own, named after it, as input `index`."""
    name = f"{node.outputs[0].name}/shape"
    tensor = ir.tensor(np.array(values, np.int64), name=name)
    constant = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(constant)
    old = node.inputs[index]
    node.replace_input_with(index, constant)
    if old is not None and not old.uses() and old.name in graph.initializers:
        del graph.initializers[old.name]


def _shapes_or_none(model: ir.Model, batch: int) -> Shapes | None:
    """The shapes at another batch, or None where they contradict each other."""
    try:
        return infer_shapes(model, batch)
    except (EdgekitError, Exception):  # noqa: BLE001 - onnx raises its own kind for every contradiction
        return None


def _scales(model: Model, single: Shapes, double: Shapes, batch: int) -> bool:
    """Whether every output has the batch in front, and no other axis of any value grows with it."""
    outputs = [value.name or "" for value in model.graph.outputs]
    if any(not single[name] or single[name][0] != batch or double[name][0] != 2 * batch for name in outputs):
        return False
    return all(_same_but_first(single[name], double[name]) for name in outputs)


def _same_but_first(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) == len(b) and a[1:] == b[1:]


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
