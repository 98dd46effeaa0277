"""Running a Model on ONNX Runtime: the faithful reference that every claim about a Model is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.types import TensorSpec
from edgekit.ir.model import Model

__all__ = ["Arrays", "batches", "max_relative", "open_session", "probe", "probe_specs", "run", "run_bytes"]

Arrays = dict[str, np.ndarray[Any, Any]]
_FLOOR = 1e-6


def run(model: Model, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
    """The model's outputs for `feeds`, on ONNX Runtime's CPU provider: one thread, graph optimisation off.

    Args:
        model: the model.
        feeds: one array an input name, with a leading sample axis. Where the model fixes its batch, the samples go
            through it batch by batch. An array with an axis more than its input has one whole value a sample.

    Returns:
        One array an output name, in the model's order, with the same leading sample axis.
    """
    return run_bytes(ir.to_proto(model.proto).SerializeToString(), feeds)


def run_bytes(model: bytes, feeds: Mapping[str, np.ndarray[Any, Any]], batch: int | None = None) -> Arrays:
    """Like `run`, for any serialised ONNX model.

    Args:
        model: the serialised model.
        feeds: as for `run`.
        batch: how many samples at once where the model leaves that open; None for all.
    """
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    shapes = {spec.name: spec.shape for spec in session.get_inputs()}
    parts = [session.run(names, part) for part in batches(shapes, feeds, batch)]
    if len(parts) == 1:
        return dict(zip(names, parts[0], strict=True))
    return {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}


def open_session(model: bytes, *, fast: bool = False) -> Any:
    """An ONNX Runtime session for a serialised model: CPU provider, one thread, graph optimisation off.

    Args:
        fast: optimise the graph; answers then differ in their last digits.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if fast else level.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def batches(
    shapes: Mapping[str, Sequence[int | str | None]], feeds: Mapping[str, np.ndarray[Any, Any]], batch: int | None
) -> Iterator[Arrays]:
    """What goes into a model at once: `batch` samples, or as many as it fixes.

    Args:
        shapes: of the model's inputs, by name.
        feeds: as for `run`.
        batch: how many samples where the model leaves that open; None for all.
    """
    fed = {name: shape for name, shape in shapes.items() if name in feeds and shape}
    whole = {name for name, shape in fed.items() if feeds[name].ndim > len(shape)}
    leading = [shape[0] for name, shape in fed.items() if name not in whole]
    batch = next((size for size in leading if isinstance(size, int)), 1 if whole else batch)
    samples = max((len(feeds[name]) for name in fed), default=1)
    if not whole and (batch is None or batch == samples):
        yield dict(feeds)
        return
    step = batch or 1
    for at in range(0, samples, step):
        yield {key: value[at] if key in whole else value[at : at + step] for key, value in feeds.items()}


def probe(model: Model, seed: int, samples: int) -> Arrays:
    """Random inputs for `model`, the same for the same seed: see `probe_specs`."""
    return probe_specs(model.inputs, seed, samples)


def probe_specs(specs: Sequence[TensorSpec], seed: int, samples: int) -> Arrays:
    """Random inputs: standard normal for float inputs, 0 or 1 for integer ones (valid indices wherever they go).

    Args:
        specs: the inputs.
        seed: the same seed gives the same values, whatever the other inputs are.
        samples: size of the leading axis; a batch that an input fixes counts as one sample each. An input that fixes
            more than the others in front (a state with its layers there) gets a whole value a sample.
    """
    batch = min((spec.shape[0] or 1 for spec in specs if spec.shape), default=1)
    return {spec.name: _random(spec, np.random.default_rng([seed, i]), samples, batch) for i, spec in enumerate(specs)}


def _random(spec: TensorSpec, random: np.random.Generator, samples: int, batch: int) -> np.ndarray[Any, Any]:
    static = spec.with_batch(samples)
    behind = static if spec.shape and (spec.shape[0] or batch) > batch else static[1:]
    shape = (samples, *behind) if spec.shape else ()
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return random.standard_normal(shape, np.float32).astype(dtype, copy=False)
    return random.integers(0, 2, shape).astype(dtype)


def max_relative(actual: Mapping[str, np.ndarray[Any, Any]], reference: Mapping[str, np.ndarray[Any, Any]]) -> float:
    """The largest max|a−b| / max(max|b|, 1e-6) over all outputs, `a` from `actual`, `b` from `reference`.

    Places where both hold the same infinity or both hold NaN count as equal; any other NaN or infinity, an output
    that is missing, and a different shape make the difference infinite.
    """
    if set(actual) != set(reference):
        return float("inf")
    return max((_relative(actual[name], reference[name]) for name in reference), default=0.0)


def _relative(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    if a.shape != b.shape:
        return float("inf")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), _FLOOR))
