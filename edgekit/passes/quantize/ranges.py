"""What range of numbers each value of a network takes over the calibration samples, and int8 parameters for a range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams
from edgekit.ir.run import batches, open_session

__all__ = ["Range", "check_samples", "contents", "measure_ranges", "params_of_range"]

# All values of a network are in memory at once.
_SAMPLES_AT_ONCE = 8
_STEPS = 255


@dataclass(frozen=True)
class Range:
    """The least and the greatest number of a value."""

    low: float
    high: float

    @classmethod
    def of(cls, content: np.ndarray[Any, Any]) -> Range:
        """That of an array."""
        return cls(float(content.min()), float(content.max())) if content.size else cls(0.0, 0.0)

    def joined(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def measure_ranges(model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Range]:
    """The range of each float value, by its name: of the inputs and of whatever a node computes.

    Args:
        model: a float network; it is not changed.
        samples: one array an input name, samples first, as `edgekit.ir.run.run` takes them.

    Raises:
        InvalidInputError: an input has no samples, or a value is infinite or undefined.
    """
    ranges: dict[str, Range] = {}
    for name, content in contents(model, samples):
        found = Range.of(content)
        ranges[name] = ranges[name].joined(found) if name in ranges else found
    return ranges


def contents(model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """What each float value holds, with its name, a few samples at a time; arguments and errors of `measure_ranges`."""
    check_samples(model, samples)
    probed = model.clone()
    outputs = probed.graph.outputs
    shown = {value.name for value in outputs}
    outputs.extend(value for value in _float_values(probed.graph) if value.name not in shown)
    session = open_session(ir.to_proto(probed.proto).SerializeToString())
    names = [value.name or "" for value in _float_values(probed.graph)]
    floats = [spec.name for spec in model.inputs if spec.dtype == "float32"]
    shapes = {spec.name: spec.shape for spec in session.get_inputs()}
    for part in batches(shapes, samples, _SAMPLES_AT_ONCE):
        for name, content in (
            *((name, part[name]) for name in floats),
            *zip(names, session.run(names, part), strict=True),
        ):
            _check_finite(name, content)
            yield name, content


def params_of_range(values: Range, *, symmetric: bool = False) -> QuantParams:
    """How to store a value that takes these numbers in int8, with an integer for 0.

    Args:
        values: the range.
        symmetric: whether that integer is the least one where nothing is negative, and otherwise the one in the middle.

    The step is rounded down where it is not exact, so that nothing that can be stored lies beyond a range from 0: a
    runtime may then leave out the ReLU or the clip in front.
    """
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    if symmetric and low < 0:
        return QuantParams(float(max(np.float32(max(-low, high) / 127), np.finfo(np.float32).tiny)), 0)
    if low == high:
        return QuantParams(1.0, -128)
    step = np.float32((high - low) / _STEPS)
    if float(step) * _STEPS > high - low:
        step = np.nextafter(step, np.float32(0))
    step = max(step, np.finfo(np.float32).tiny)
    return QuantParams(float(step), int(np.clip(round(-128 - low / float(step)), -128, 127)))


def check_samples(model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Refuse calibration samples that don't fit.

    Raises:
        InvalidInputError: an input has none, or of another shape.
    """
    for spec in model.inputs:
        found = samples[spec.name].shape if spec.name in samples else None
        if not found or not found[0] or found[1:] != spec.sample_shape:
            raise InvalidInputError(
                f"the calibration data has {found or 'nothing'} for input {spec.name!r}, which takes {spec.shape}",
                blame="your data",
                remedy="Give one array for each input of the model, samples first: edgekit inspect MODEL lists them.",
            )


def _float_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """What the nodes compute, in float."""
    return (value for node in graph for value in node.outputs if value.name and value.dtype is ir.DataType.FLOAT)


def _check_finite(name: str, content: np.ndarray[Any, Any]) -> None:
    if not np.isfinite(content).all():
        raise InvalidInputError(
            f"the value {name!r} is infinite or undefined on the calibration samples",
            blame="your model or your data",
            remedy="Look for NaN and huge values in both; preprocessing must be the one of the training.",
        )
