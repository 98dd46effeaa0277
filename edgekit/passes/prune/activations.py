"""The activations inside a Model for given samples, some samples at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.ir.run import Arrays, run_bytes

__all__ = ["activations"]

_CHUNK = 16


def activations(model: Model, names: Collection[str], samples: Mapping[str, np.ndarray[Any, Any]]) -> Iterator[Arrays]:
    """What the values `names` hold for `samples`, on ONNX Runtime; a few samples at a time, since they are large.

    Args:
        model: the Model.
        names: activations of it.
        samples: inputs by name, (samples, …) each.
    """
    proto = ir.to_proto(model.proto)
    outputs = {value.name for value in proto.graph.output}
    values = {str(value.name): value for node in model.graph for value in node.outputs}
    proto.graph.output.extend(ir.to_proto(values[name]) for name in names if name not in outputs)
    content = proto.SerializeToString()
    count = min((len(array) for array in samples.values()), default=0)
    for begin in range(0, count, _CHUNK):
        chunk = {name: array[begin : begin + _CHUNK] for name, array in samples.items()}
        answer = run_bytes(content, chunk)
        yield {name: answer[name] for name in names}
