"""Activation ranges for static int8: the least and the greatest value of every tensor over all calibration samples.

ai-edge-quantizer's own calibration averages the samples' ranges with a decay of 0.95: about twenty samples count,
and what exceeds their mean is clipped. Before the softmax, ResNet-8 and VWW keep 13 dB that way, and 23 and
25 dB with plain ranges.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.formats.tflite import flatbuffer

__all__ = ["Ranges", "Samples", "calibrate"]

Samples = Mapping[str, np.ndarray[Any, Any]]
# {tensor name: {"min", "max"}}, as ai-edge-quantizer takes them.
Ranges = dict[str, dict[str, np.ndarray[Any, Any]]]
# Of a sum's result, as a part of the larger operand's; the kernels' own limit is 2⁻¹⁹ of the scale.
_LEAST_RANGE = 2.0**-16


def calibrate(content: bytes, samples: Samples) -> Ranges:
    """The range of each computed tensor.

    Args:
        content: the float file.
        samples: one array an input name, in the file's layout, samples first.

    Raises:
        InvalidInputError: a tensor took a value that is not finite.
    """
    interpreter = _interpreter(content)
    file = flatbuffer.read(content)
    subgraph = file.subgraphs[0]
    unread = _unread(subgraph)
    outputs = (index for operator in subgraph.operators for index in operator.outputs if index not in unread)
    computed = [*subgraph.inputs, *outputs]
    lows, highs = (dict.fromkeys(computed, extreme) for extreme in (np.inf, -np.inf))
    batch = min(int(size) for index in subgraph.inputs for size in subgraph.tensors[index].shape[:1])
    indices = dict(zip(samples, subgraph.inputs, strict=True))
    count = len(next(iter(samples.values())))
    for start in range(0, count, batch):
        chosen = np.arange(start, start + batch) % count  # a last, smaller group is filled up from the front
        for name, values in samples.items():
            # A state that has its layers in front, and no batch, comes whole.
            interpreter.set_tensor(indices[name], values[chosen].reshape(subgraph.tensors[indices[name]].shape))
        interpreter.invoke()
        for index in computed:
            values = interpreter.get_tensor(index)
            lows[index], highs[index] = np.minimum(lows[index], values.min()), np.maximum(highs[index], values.max())
    if not np.isfinite([*lows.values(), *highs.values()]).all():
        raise InvalidInputError(
            "the network gives infinite or undefined values on the calibration samples",
            blame="your model or your data",
            remedy="Look for NaN and huge values in both; preprocessing must be the one of the training.",
        )
    for index, source in unread.items():
        lows[index], highs[index] = lows.get(source, 0.0), highs.get(source, 0.0)
    _keep_apart(file, lows, highs)
    return {
        subgraph.tensors[index].name.decode(): {
            "min": np.full((1, 1), lows[index], np.float32),
            "max": np.full((1, 1), highs[index], np.float32),
        }
        for index in lows
    }


def _keep_apart(file: Any, lows: dict[int, float], highs: dict[int, float]) -> None:
    """Widen the range of sums that were always (nearly) zero: nothing of an int8 operand reaches such a range.

    TensorFlow Lite's own kernels for them, those that run where XNNPACK doesn't, end the process at that.
    """
    subgraph = file.subgraphs[0]
    for kind, operator in zip(flatbuffer.op_names(file), subgraph.operators, strict=True):
        (result, *_), operands = operator.outputs, [index for index in operator.inputs if index in lows]
        if kind in ("ADD", "SUB") and operands:
            least = max(max(abs(lows[index]), abs(highs[index])) for index in operands) * _LEAST_RANGE
            highs[result] = max(highs[result], lows[result] + least)


def _unread(subgraph: Any) -> dict[int, int]:
    """Outputs that nothing reads (a part of a SPLIT), each with the tensor that its operator reads.

    They have no memory to look into, and as parts they have the range of the whole.
    """
    read = {int(index) for operator in subgraph.operators for index in operator.inputs} | set(subgraph.outputs)
    return {
        int(index): int(operator.inputs[-1])
        for operator in subgraph.operators
        for index in operator.outputs
        if index not in read
    }


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "for debugging only": the memory of all tensors is what we want here
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
