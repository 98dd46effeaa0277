"""How far each channel of an activation reaches over the calibration samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.ir.run import batches, open_session

__all__ = ["channel_peaks"]

_Array = np.ndarray[Any, Any]
_SAMPLES_AT_ONCE = 8


def channel_peaks(
    model: Model, samples: Mapping[str, _Array], wanted: Collection[tuple[str, int]]
) -> dict[tuple[str, int], _Array]:
    """The largest |x| of each channel, (channels,) float64.

    Args:
        model: a float network; it is not changed.
        samples: one array an input name, (samples, …).
        wanted: values by name, each with the axis of its channels.
    """
    places = sorted(wanted)
    if not places:
        return {}
    probed = model.clone()
    values = {str(value.name): value for node in probed.graph for value in node.outputs}
    del probed.graph.outputs[:]
    probed.graph.outputs.extend(values[name] for name in dict.fromkeys(name for name, _ in places))
    session = open_session(ir.to_proto(probed.proto).SerializeToString())
    names = [str(value.name) for value in probed.graph.outputs]
    shapes = {spec.name: spec.shape for spec in session.get_inputs()}
    peaks: dict[tuple[str, int], _Array] = {}
    for part in batches(shapes, {name: samples[name] for name in shapes}, _SAMPLES_AT_ONCE):
        answers = dict(zip(names, session.run(names, part), strict=True))
        for name, axis in places:
            array = np.abs(answers[name].astype(np.float64))
            found = array.max(axis=tuple(at for at in range(array.ndim) if at != axis))
            peaks[name, axis] = np.maximum(peaks[name, axis], found) if (name, axis) in peaks else found
    return peaks
