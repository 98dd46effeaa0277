"""Model: a normalised ONNX graph held as `onnx_ir.Model`, and what edgekit knows about its inputs and outputs.

Normalised means: static shapes but for a symbolic batch in front, float32, weights in initializers, no dead nodes, one
opset, every node named, and no reshape that names the batch. `passes/normalise` makes it so; `Model` only holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from edgekit.core.types import Layout, TensorSpec

__all__ = ["BATCH", "IR_VERSION", "OPSET", "Model", "set_layout"]

# The first with single operators for GELU (20) and SiLU (24) that both of our runtimes run.
OPSET = 24
# onnx writes newer IR versions than onnxruntime reads.
IR_VERSION = 10
BATCH = "batch"
_LAYOUT_KEY = "edgekit.layout"


@dataclass
class Model:
    """A normalised ONNX graph.

    Attributes:
        proto: the graph. Values carry shapes; the batch is the symbolic dimension `BATCH` (or 1 where the network
            itself fixes it). A value's layout stands in its metadata under "edgekit.layout".
    """

    proto: ir.Model

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read a model that `save` wrote."""
        return cls(ir.load(path))

    def save(self, path: Path) -> None:
        """Write the model as one ONNX file. The same model gives the same bytes."""
        ir.save(self.proto, path)

    @property
    def graph(self) -> ir.Graph:
        """The graph of the model."""
        return self.proto.graph

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in order."""
        return _specs(self.graph.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, in order."""
        return _specs(self.graph.outputs)

    @property
    def digest(self) -> str:
        """SHA-256 of the serialised model."""
        return hashlib.sha256(ir.to_proto(self.proto).SerializeToString(deterministic=True)).hexdigest()

    def clone(self) -> Model:
        """A copy that can be changed without touching this one; constants are shared."""
        return Model(self.proto.clone())


def _specs(values: Sequence[ir.Value]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(value) for value in values)


def _spec(value: ir.Value) -> TensorSpec:
    assert value.name is not None
    assert value.shape is not None
    assert value.dtype is not None
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    layout = Layout(value.metadata_props.get(_LAYOUT_KEY, Layout.ND))
    return TensorSpec(value.name, shape, str(value.dtype.numpy()), layout)


def set_layout(value: ir.Value, layout: Layout) -> None:
    """Record what the axes of an input or output mean."""
    value.metadata_props[_LAYOUT_KEY] = layout.value
