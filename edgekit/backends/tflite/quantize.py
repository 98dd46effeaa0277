"""Float .tflite → fp16, dynamic or int8 .tflite, with ai-edge-quantizer. Needs no TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping

from edgekit.backends.tflite.calibrate import Ranges, Samples, calibrate
from edgekit.backends.tflite.recipe import apply_plan
from edgekit.backends.tflite.recorded import tensors_stored_whole
from edgekit.core.errors import UnsupportedOpError
from edgekit.core.types import QuantPlan
from edgekit.formats.tflite import flatbuffer

__all__ = ["quantize"]


def quantize(
    content: bytes,
    plan: QuantPlan,
    *,
    scopes: Mapping[str, str],
    samples: Samples | None,
    io: str,
    recorded: Ranges | None = None,
    float_ops: Collection[str] = (),
    weight_bits: int = 8,
) -> bytes:
    """The file that realises `plan`.

    Args:
        content: the float file.
        plan: the precision of each layer.
        scopes: the prefix of tensor names of each layer.
        samples: calibration samples by input name, in the file's layout, batch first; None where nothing is int8.
        io: element type of the file's inputs and outputs: "float32", "int8" or "uint8".
        recorded: ranges by tensor name that a quantized source has; only tensors that it has none for are measured.
        float_ops: operators that the runtime only has in float.
        weight_bits: 4 for int4 in place of int8, where LiteRT has kernels for it.
    """
    from ai_edge_quantizer import Quantizer

    quantizer = Quantizer(content)
    keep = _last_softmaxes(content) if io == "float32" else []
    whole = tensors_stored_whole(content) if recorded else ()
    apply_plan(
        quantizer,
        plan,
        scopes=scopes,
        float_tensors=keep,
        float_ops=float_ops,
        whole=whole,
        io=io,
        weight_bits=weight_bits,
    )
    statistics = _statistics(content, samples, recorded or {}) if quantizer.need_calibration else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks at tensors through an interpreter that warns of being for debugging
        try:
            result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
        except Exception as error:
            raise UnsupportedOpError(
                f"ai-edge-quantizer can't make {plan.default} of this network: {type(error).__name__}: {error}",
                blame="ai-edge-quantizer on your model",
                remedy="Build it in another one: --precision fp16, or --precision auto, which leaves this one out.",
            ) from error
    return _mended(bytes(result.quantized_model))


def _mended(content: bytes) -> bytes:
    """The file with two mistakes of ai-edge-quantizer 0.10 put right; both meet models that give out their state.

    It counts the end of the file as reader −1 of an output, and so gives the dequantized output to the last operator,
    too, where that reads the same tensor (a dense layer behind a state): that one shall read the integers. And of two
    outputs that are one tensor (a state that is also the answer) it leaves the signature with the integers.
    """
    from ai_edge_litert.schema_py_generated import TensorType

    file = flatbuffer.read(content)
    subgraph = file.subgraphs[0]
    named = list(zip(flatbuffer.op_names(file), subgraph.operators, strict=True))
    source = {int(op.outputs[0]): int(op.inputs[0]) for name, op in named if name == "DEQUANTIZE"}
    wrong = [
        op
        for name, op in named
        if name not in ("DEQUANTIZE", "QUANTIZE")
        and subgraph.tensors[op.outputs[0]].type != TensorType.FLOAT32
        and any(int(index) in source for index in op.inputs)
    ]
    for op in wrong:
        op.inputs = [source.get(int(index), int(index)) for index in op.inputs]
    ends = list(zip(file.signatureDefs[0].outputs, subgraph.outputs, strict=True))
    if not wrong and all(end.tensorIndex == index for end, index in ends):
        return content
    for end, index in ends:
        end.tensorIndex = index
    return flatbuffer.write(file)


def _statistics(content: bytes, samples: Samples | None, recorded: Ranges) -> Ranges:
    graph = flatbuffer.read(content).subgraphs[0]
    computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    missing = {graph.tensors[index].name.decode() for index in computed} - recorded.keys()
    return {**calibrate(content, samples), **recorded} if missing and samples else recorded


def _last_softmaxes(content: bytes) -> list[str]:
    """The softmaxes that are outputs: int8 in steps of 1/256 rounds the small probabilities of many classes away."""
    file = flatbuffer.read(content)
    subgraph = file.subgraphs[0]
    return [
        subgraph.tensors[operator.outputs[0]].name.decode()
        for name, operator in zip(flatbuffer.op_names(file), subgraph.operators, strict=True)
        if name == "SOFTMAX" and operator.outputs[0] in set(subgraph.outputs)
    ]
