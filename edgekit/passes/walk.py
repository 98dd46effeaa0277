"""The activations inside a Model for given samples, met one after the other on one walk through the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.run import batches, open_session
from edgekit.passes.prune.layers import layers
from edgekit.passes.prune.rules import read_by

__all__ = ["Walk", "affordable", "rows"]

_CHUNK = 16
# Bytes of activations that are kept for all samples, at most; where images are large, fewer of them do.
_MEMORY = 2**30


def affordable(samples: Mapping[str, np.ndarray[Any, Any]], *models: Model) -> dict[str, np.ndarray[Any, Any]]:
    """As many of the samples as walks through all of `models` at once can hold in a gigabyte, one at least."""
    most = max(_MEMORY // sum(_peak(model) for model in models), 1)
    return {name: array[:most] for name, array in samples.items()}


def _peak(model: Model) -> int:
    """Bytes of activations a sample, at most, where a layer reads."""
    readers = {reads.layer for _, _, reads in layers(model.graph) if reads is not None}
    return max((layer.live_bytes for layer in model_cost(model).layers if layer.name in readers), default=1)


class Walk:
    """A Model on ONNX Runtime, stopped wherever one wants to look, or to change the weights that come next.

    Every node runs once: at each stop the activations are kept that nodes behind it read, for all samples.
    """

    def __init__(self, model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """At the inputs.

        Args:
            model: the Model. Weights may change in front of the walk.
            samples: inputs by name, as `edgekit.ir.run.run` takes them.
        """
        self._model, self._at, self._nodes = model, 0, list(model.graph)
        self._places = {node: place for place, node in enumerate(self._nodes)}
        self._last_read = {value: place for place, node in enumerate(self._nodes) for value in read_by(node)}
        self._live = list(model.graph.inputs)
        shapes = {spec.name: spec.shape for spec in model.inputs}
        self._chunks = list(batches(shapes, {name: samples[name] for name in shapes}, _CHUNK))

    def to(self, node: ir.Node) -> None:
        """Go on to `node`, which lies ahead: all nodes before it have run then."""
        begin, self._at = self._at, self._places[node]
        segment = self._nodes[begin : self._at]
        made = [value for each in segment for value in each.outputs if value.name]
        live = [value for value in (*self._live, *made) if self._last_read.get(value, -1) >= self._at]
        new = [value for value in live if value not in self._live]
        session = open_session(self._serialised(segment, new)) if new else None
        taken = {str(value.name) for value in self._live if session is not None} & {
            str(value.name) for each in segment for value in read_by(each)
        }
        kept, names = {str(value.name) for value in live}, [str(value.name) for value in new]
        for place, chunk in enumerate(self._chunks):
            answers = session.run(names, {name: chunk[name] for name in taken}) if session is not None else []
            still = {name: array for name, array in chunk.items() if name in kept}
            self._chunks[place] = still | dict(zip(names, answers, strict=True))
        self._live = live

    def here(self, value: ir.Value) -> Iterator[np.ndarray[Any, Any]]:
        """What a value that a node here or behind reads holds, some samples at a time."""
        return (chunk[str(value.name)] for chunk in self._chunks)

    def made_by(self, node: ir.Node) -> Iterator[np.ndarray[Any, Any]]:
        """What the node that the walk stands before makes, some samples at a time; it is not kept."""
        session = open_session(self._serialised([node], [node.outputs[0]]))
        taken = {str(value.name) for value in read_by(node)}
        for chunk in self._chunks:
            yield session.run(None, {name: array for name, array in chunk.items() if name in taken})[0]

    def _serialised(self, segment: list[ir.Node], outputs: list[ir.Value]) -> bytes:
        """A model of some nodes."""
        read = dict.fromkeys(value for node in segment for value in read_by(node))
        graph = onnx.GraphProto(name="segment")
        graph.node.extend(ir.to_proto(node) for node in segment)
        graph.input.extend(ir.to_proto(value) for value in self._live if value in read)
        graph.output.extend(ir.to_proto(value) for value in outputs)
        for value in read:
            if value.is_initializer():
                assert value.const_value is not None
                tensor = ir.to_proto(value.const_value)
                tensor.name = str(value.name)
                graph.initializer.append(tensor)
        opsets = [onnx.helper.make_opsetid(name, version) for name, version in self._model.proto.opset_imports.items()]
        proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=self._model.proto.ir_version)
        content: bytes = proto.SerializeToString()
        return content


def rows(data: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    """(places, channels) of an activation whose channels lie along `axis`."""
    moved = np.moveaxis(data, axis, -1)
    return moved.reshape(-1, moved.shape[-1])
