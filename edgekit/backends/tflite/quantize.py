"""Float .tflite → fp16 or int8 .tflite, with ai-edge-quantizer. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edgekit.backends.tflite import flatbuffer
from edgekit.backends.tflite.recipe import apply_plan
from edgekit.core.types import QuantPlan

__all__ = ["Samples", "quantize"]

Samples = Mapping[str, np.ndarray[Any, Any]]


def quantize(content: bytes, plan: QuantPlan, *, scopes: Mapping[str, str], samples: Samples | None, io: str) -> bytes:
    """The file that realises `plan`.

    Args:
        content: the float file.
        plan: the precision of each layer.
        scopes: the prefix of tensor names of each layer.
        samples: calibration samples by input name, in the file's layout, batch first; None where nothing is int8.
        io: element type of the file's inputs and outputs: "float32", "int8" or "uint8".
    """
    from ai_edge_quantizer import Quantizer

    quantizer = Quantizer(content)
    keep = _last_softmaxes(content) if io == "float32" else []
    apply_plan(quantizer, plan, scopes=scopes, float_tensors=keep, io=io)
    statistics = _calibrate(content, quantizer, samples) if quantizer.need_calibration else None
    result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _calibrate(content: bytes, quantizer: Any, samples: Samples | None) -> Any:
    assert samples is not None, "int8 needs calibration samples"
    return quantizer.calibrate({flatbuffer.SIGNATURE: _feeds(content, samples)}, num_threads=1)


def _feeds(content: bytes, samples: Samples) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """The samples at the file's batch; a last, smaller group is filled up from the front."""
    subgraph = flatbuffer.read(content).subgraphs[0]
    batch = int(subgraph.tensors[subgraph.inputs[0]].shape[0])
    count = len(next(iter(samples.values())))
    for start in range(0, count, batch):
        chosen = np.arange(start, start + batch) % count
        yield {name: values[chosen] for name, values in samples.items()}


def _last_softmaxes(content: bytes) -> list[str]:
    """The softmaxes that are outputs: int8 in steps of 1/256 rounds the small probabilities of many classes away."""
    file = flatbuffer.read(content)
    subgraph = file.subgraphs[0]
    return [
        subgraph.tensors[operator.outputs[0]].name.decode()
        for name, operator in zip(flatbuffer.op_names(file), subgraph.operators, strict=True)
        if name == "SOFTMAX" and operator.outputs[0] in set(subgraph.outputs)
    ]
