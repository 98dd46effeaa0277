"""Names for a .tflite file's tensors: each its own, and behind the layer of the network that it was made from.

The converter calls the output of a fused operator after everything in it, "model/relu/Relu;model/conv/BiasAdd;…", the
parts in no fixed order and some of them from other layers that share a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.formats.layer_names import own_names
from edgekit.formats.tflite import flatbuffer

__all__ = ["name_tensors", "text"]

# What the op that makes a layer is called in TensorFlow's graphs, beside its bias, which names it most surely.
_BIAS = "BiasAdd"
_KERNELS = ("Conv2D", "depthwise", "MatMul", "convolution", "conv2d_transpose", "Conv2DBackpropInput", "Tensordot")


def name_tensors(model: Any, ends: Mapping[int, str]) -> tuple[str, ...]:
    """Give every tensor of the file a name of its own, that of a layer's output beginning with the layer's path.

    Args:
        model: the file (`ModelT`); changed in place.
        ends: names for inputs of the first subgraph, by tensor.

    Returns:
        Paths of the layers, without what all of them have in front ("model/").
    """
    layers = own_names(_layers(model))
    for place, subgraph in enumerate(model.subgraphs):
        subgraph.name = f"graph_{place}"
        for index, tensor in enumerate(subgraph.tensors):
            tensor.name = f"graph_{place}/tensor_{index}"
    graph = model.subgraphs[0]
    for position, (operator, kind, layer) in enumerate(
        zip(graph.operators, flatbuffer.op_names(model), layers, strict=True)
    ):
        for port, index in enumerate(operator.outputs):
            path = f"{layer}/{kind}_{position}" if layer else f"{kind}_{position}"
            graph.tensors[index].name = f"{path}_{port}" if port else path
    for index, name in ends.items():
        graph.tensors[index].name = name
    return tuple(dict.fromkeys(layer for layer in layers if layer))


def text(name: bytes | str | None) -> str:
    """A name in the file as text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def _layers(model: Any) -> list[str]:
    """The layer that each operator of the first subgraph makes, or "": from its output's name, else its weights'."""
    graph = model.subgraphs[0]
    made = {index for operator in graph.operators for index in operator.outputs} | set(graph.inputs)
    layers = []
    for operator in graph.operators:
        weights = [index for index in operator.inputs if index != -1 and index not in made]
        names = [text(graph.tensors[index].name) for index in (*operator.outputs[:1], *reversed(weights))]
        layers.append(next((layer for layer in map(_layer, names) if layer), ""))
    return layers


def _layer(name: str) -> str:
    """The layer's path in a tensor's name, or "" where it has none."""
    parts = [part.strip("/") for part in name.split(";")]
    parts = [part.removesuffix("/ReadVariableOp/resource") for part in parts if "/" in part]
    biases = [part for part in parts if part.rsplit("/", 1)[1].startswith(_BIAS)]
    kernels = [part for part in parts if part.rsplit("/", 1)[1].startswith(_KERNELS)]
    chosen = next(iter(biases or kernels[::-1] or parts), "")
    return chosen.rpartition("/")[0]
