"""TFLite files: scanned, named after layers, converted to ONNX; the file itself, run by ai-edge-litert, answers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.formats.conversion import convert_tflite
from edgekit.formats.layer_names import unique_names
from edgekit.formats.sizes import fill_sizes, write_sizes
from edgekit.formats.source import Source, by_batch, check_weights, smallest_probe
from edgekit.formats.tflite import flatbuffer
from edgekit.formats.tflite.integers import computes_in_integers, expose_logits
from edgekit.formats.tflite.names import name_tensors, text
from edgekit.formats.tflite.scan import DTYPES, scan_tflite
from edgekit.formats.tflite.weights import constants, widen_weights
from edgekit.ir.run import Arrays, max_relative

if TYPE_CHECKING:
    import onnx

__all__ = ["read_tflite"]


def read_tflite(path: Path, input_shapes: Mapping[str, Sequence[int]]) -> Source:
    """Read the .tflite file at `path`.

    Weights that the file stores in fewer bits beside float operators are widened: the network is the float one with
    these weights. A network that computes in integers keeps QuantizeLinear and DequantizeLinear in its graph.

    Args:
        path: the file.
        input_shapes: sizes for the axes that the model leaves open, by input name, batch included.

    Raises:
        InvalidInputError: the file is damaged, keeps state, leaves a size open, or its weights are not numbers.
        UnsupportedOpError: an operator is not part of TFLite, or has no ONNX form.
    """
    content = path.read_bytes()
    model = scan_tflite(path, content)
    check_weights(constants(model))
    inputs, outputs = _ends(path, model)
    specs = _specs(model, inputs, input_shapes)
    # Operators that round their inputs to fit weights of eight bits answer for their runtime, not for the network.
    rounding = widen_weights(model)
    layers = name_tensors(model, {index: name for name, index in inputs.items()})
    graph = model.subgraphs[0]
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
    named = flatbuffer.write(model)
    network = _Network(path, content, tuple(zip(specs, inputs.values(), strict=True)), outputs)
    reference = dataclasses.replace(network, content=named) if rounding else network
    if computes_in_integers(model):
        inner = expose_logits(model, outputs)
        reference = dataclasses.replace(
            network, content=flatbuffer.write(model), outputs={**outputs, **inner}, delegates=True
        )
    answer = functools.partial(_answer, reference)
    # What the runtime itself can't run is the file's fault; what goes wrong after that is ours.
    feeds = smallest_probe(specs)
    expected = answer(feeds)
    warnings = []
    if rounding:
        warnings.append(
            f"{path} stores the weights of {len(rounding)} layers in 8 bits; it is read as the float model with these "
            f"weights, from which its own kernels, which round activations too, are "
            f"{max_relative(_answer(network, feeds), expected):.1g} (relative) off"
        )
    proto = convert_tflite(named)
    _rename_outputs(proto.graph, {text(graph.tensors[index].name): name for name, index in outputs.items()})
    write_sizes(proto.graph, {spec.name: spec.shape for spec in specs})
    return Source(
        "tflite",
        proto,
        f"ai-edge-litert {metadata.version('ai-edge-litert')}",
        specs,
        answer,
        layouts=dict.fromkeys((*inputs, *outputs), Layout.NHWC),
        layers=layers,
        warnings=tuple(warnings),
    )


def _ends(path: Path, model: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Tensors of inputs and outputs by name: as the signature has them, or else by the tensors' own names."""
    graph = model.subgraphs[0]
    signature = next((entry for entry in model.signatureDefs or [] if entry.subgraphIndex == 0), None)
    entries = [*signature.inputs, *signature.outputs] if signature else []
    known = {entry.tensorIndex: text(entry.name) for entry in entries}
    order = {index: place for place, index in enumerate(known)}
    inputs, outputs = (
        sorted(dict.fromkeys(map(int, indices)), key=lambda index: order.get(index, -1))
        for indices in (graph.inputs, graph.outputs)
    )
    if not outputs or set(inputs) & set(outputs):
        raise InvalidInputError(
            f"{path} gives nothing but what it gets",
            blame="your model file",
            remedy="Convert it again, without outputs that are inputs.",
        )
    names = unique_names([known.get(index) or _plain(graph.tensors[index].name) for index in (*inputs, *outputs)])
    return dict(zip(names, inputs, strict=False)), dict(zip(names[len(inputs) :], outputs, strict=True))


def _plain(name: bytes | None) -> str:
    """A tensor's name without what exporters put around it: "serving_default_image:0" is "image"."""
    return text(name).removeprefix("serving_default_").split(":")[0] or "tensor"


def _specs(model: Any, inputs: Mapping[str, int], input_shapes: Mapping[str, Sequence[int]]) -> tuple[TensorSpec, ...]:
    tensors = {name: model.subgraphs[0].tensors[index] for name, index in inputs.items()}
    own = {name: _shape(tensor) for name, tensor in tensors.items()}
    shapes = fill_sizes(own, input_shapes)
    return tuple(TensorSpec(name, shape, DTYPES[tensors[name].type]) for name, shape in shapes.items())


def _shape(tensor: Any) -> tuple[int | None, ...]:
    signed = tensor.shapeSignature
    sizes = signed if signed is not None and len(signed) else tensor.shape
    return tuple(None if size < 0 else int(size) for size in (() if sizes is None else sizes))


@dataclass(frozen=True)
class _Network:
    """A file for the interpreter: its inputs with their tensors, and the tensors of its outputs by name.

    Delegates reorder the arithmetic of float networks. Integer networks are what their users run: with delegates.
    """

    path: Path
    content: bytes
    inputs: tuple[tuple[TensorSpec, int], ...]
    outputs: Mapping[str, int]
    delegates: bool = False


def _answer(network: _Network, feeds: Arrays) -> Arrays:
    """The file's answers, batch by batch, by the runtime's own kernels or by its delegates."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    specs = [spec for spec, _ in network.inputs]
    try:
        interpreter = Interpreter(
            model_content=network.content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.AUTO
            if network.delegates
            else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        for spec, index in network.inputs:
            interpreter.resize_tensor_input(index, spec.with_batch(1))
        interpreter.allocate_tensors()
        return by_batch(specs, feeds, functools.partial(_invoke, interpreter, network), 1)
    except Exception as error:
        raise InvalidInputError(
            f"ai-edge-litert itself can't run {network.path}: {' '.join(str(error).split())[:300]}",
            blame="your model file",
            remedy="Convert it again with the tool that made it.",
        ) from error


def _invoke(interpreter: Any, network: _Network, feeds: Arrays) -> Arrays:
    for spec, index in network.inputs:
        interpreter.set_tensor(index, feeds[spec.name])
    interpreter.invoke()
    return {name: interpreter.get_tensor(index) for name, index in network.outputs.items()}


def _rename_outputs(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give outputs their names; a tensor keeps its node's until then, because nodes are called after it."""
    for value in graph.output:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
