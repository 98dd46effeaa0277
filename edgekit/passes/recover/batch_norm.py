"""BatchNormalization put back behind convolutions that had it folded away: training goes better with it.

Mean and variance come from calibration samples; scale and shift undo them, so that the network answers as before.
Folding left kernels of any size, like tiny ones where pixels come in, and a step of Adam is as long for each of them.
So they become as large as training begins with (He et al., 2015, arXiv:1502.01852), and the scale undoes that, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.walk import Walk, affordable

__all__ = ["InsertBatchNorm", "has_batch_norm"]

_EPSILON = 1e-3
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def has_batch_norm(model: Model) -> bool:
    """Whether the network kept its BatchNormalization, or never had convolutions to normalise."""
    ops = {node.op_type for node in model.graph}
    return "BatchNormalization" in ops or "Conv" not in ops


class InsertBatchNorm(Pass):
    """A BatchNormalization behind each convolution that feeds further layers with weights.

    Left out are those whose output is one place a channel, as in a squeeze-and-excitation: a batch says too little
    about them.
    """

    name: ClassVar[str] = "insert-batch-norm"
    # Taking a mean away and adding it again rounds: a mean that is 100 times the signal costs two digits.
    tolerance: ClassVar[float] = 1e-4

    def __init__(self, samples: Mapping[str, np.ndarray[Any, Any]], *, resized: bool = True) -> None:
        """Normalise by the statistics over `samples`, (samples, …) an input name.

        `resized` kernels get another size; those that share a code book must not.
        """
        self._samples, self._resized = samples, resized

    def call(self, model: Model) -> PassResult:
        """Measure, and insert."""
        chosen = {str(node.outputs[0].name): node for node in model.graph if _takes(node)}
        statistics = _statistics(model, list(chosen), self._samples)
        for name, node in chosen.items():
            mean, variance = statistics[name]
            _insert(model.graph, node, mean, variance, _resize(node) if self._resized else np.ones(1))
        return PassResult(model, len(chosen))


def _takes(node: ir.Node) -> bool:
    if node.op_type != "Conv" or node.outputs[0].is_graph_output():
        return False
    readers = {usage.node.op_type for usage in node.outputs[0].uses()}
    sizes = [size for size in (node.outputs[0].shape or ())[2:] if isinstance(size, int)]
    return "BatchNormalization" not in readers and int(np.prod(sizes)) > 1 and _feeds_weights(node)


def _feeds_weights(node: ir.Node) -> bool:
    seen: set[ir.Node] = set()
    waiting = [node]
    while waiting:
        for usage in (usage for value in waiting.pop().outputs for usage in value.uses()):
            if usage.node.op_type in _WEIGHTED:
                return True
            if usage.node not in seen:
                seen.add(usage.node)
                waiting.append(usage.node)
    return False


def _statistics(
    model: Model, names: list[str], samples: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Mean and variance of each channel, in double precision; the parts are merged as Chan et al. (1979) do."""
    walk, wanted = Walk(model, affordable(samples, model)), set(names)
    found = {}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.name in wanted:
                wanted.remove(value.name)
                walk.to(node)
                found[value.name] = _moments(walk.here(value))
    return found


def _moments(parts: Iterable[np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    count, mean, squares = 0.0, np.zeros(()), np.zeros(())
    for part in parts:
        rows = np.moveaxis(part.astype(np.float64), 1, -1).reshape(-1, part.shape[1])
        total, difference = count + len(rows), rows.mean(0) - mean
        squares = squares + rows.var(0) * len(rows) + difference**2 * (count * len(rows) / total)
        count, mean = total, mean + difference * (len(rows) / total)
    return mean, squares / max(count, 1)


def _resize(node: ir.Node) -> np.ndarray[Any, Any]:
    """Give the kernel of each channel the mean square 2 ÷ its size; what its output has become times, by channel."""
    values = [value for value in node.inputs[1:] if value is not None]
    kernel = values[0].const_value
    if kernel is None or any(len(value.uses()) > 1 or value.const_value is None for value in values):
        return np.ones(1)
    weights = kernel.numpy().astype(np.float64)
    squares = np.square(weights).reshape(len(weights), -1).sum(1)
    factor = np.sqrt(2 / np.where(squares > 0, squares, 2))
    for value in values:
        assert value.const_value is not None
        array = value.const_value.numpy()
        scaled = array * factor.reshape(-1, *[1] * (array.ndim - 1))
        value.const_value = ir.tensor(scaled.astype(np.float32), name=value.name)
    return factor


def _insert(
    graph: ir.Graph,
    node: ir.Node,
    mean: np.ndarray[Any, Any],
    variance: np.ndarray[Any, Any],
    factor: np.ndarray[Any, Any],
) -> None:
    source = node.outputs[0]
    figures = {
        "scale": np.sqrt(variance * factor**2 + _EPSILON) / factor,
        "bias": mean,
        "mean": mean * factor,
        "variance": variance * factor**2,
    }
    base = f"{node.name}/batch_norm"
    values = [ir.Value(name=f"{base}/{kind}") for kind in figures]
    for value, array in zip(values, figures.values(), strict=True):
        value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.FLOAT)
        graph.register_initializer(value)
    norm = ir.node("BatchNormalization", [source, *values], {"epsilon": _EPSILON}, name=base)
    result = norm.outputs[0]
    result.name, result.shape, result.type = f"{base}/y", source.shape, source.type
    source.replace_all_uses_with(result)
    norm.replace_input_with(0, source)
    graph.insert_after(node, norm)
