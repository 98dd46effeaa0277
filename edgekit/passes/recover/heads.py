"""What a Model's outputs are to a loss: classes behind a softmax or a sigmoid, trained on their logits, or values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.ir.model import Model

__all__ = ["Head", "Kind", "heads", "with_shares"]

Array = np.ndarray[Any, Any]
Kind = Literal["softmax", "sigmoid", "values"]
# What only arranges its input's numbers anew.
_ARRANGING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_KINDS: dict[str, Kind] = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Head:
    """An output as a loss sees it.

    Attributes:
        output: the output's name.
        kind: what the logits go through; "values" have none.
        logits: name of the value to train on: what goes into the softmax or sigmoid, else the output.
        axis: of the classes, for a softmax.
    """

    output: str
    kind: Kind
    logits: str
    axis: int = -1


def heads(model: Model, targets: Mapping[str, Array]) -> tuple[Head, ...]:
    """One head an output.

    An output that ends in neither softmax nor sigmoid gives logits itself where its targets are classes or label maps.
    """
    values = zip(model.graph.outputs, model.outputs, strict=True)
    return tuple(_head(value, spec, targets.get(spec.name)) for value, spec in values)


def with_shares(model: Model, targets: Mapping[str, Array]) -> dict[str, Array]:
    """`targets` with classes as one-hot rows (n, classes), which can be mixed.

    Raises:
        InvalidInputError: there are label maps, which can't.
    """
    found = dict(targets)
    for head in heads(model, targets):
        labels = targets.get(head.output)
        if labels is None or labels.dtype.kind == "f" or head.kind == "values":
            continue
        if labels.ndim > 1:
            raise InvalidInputError(
                f"label maps of {head.output!r} can't be mixed", blame="the settings", remedy="Leave out mixup."
            )
        shape = next(spec.sample_shape for spec in model.outputs if spec.name == head.output)
        rows: Any = labels[:, None] if head.kind == "sigmoid" else labels[:, None] == np.arange(max(shape))
        found[head.output] = np.asarray(rows, np.float32)
    return found


def _head(output: ir.Value, spec: TensorSpec, targets: Array | None) -> Head:
    node = output.producer()
    while node is not None and node.op_type in _ARRANGING:
        source = node.inputs[0]
        node = None if source is None else source.producer()
    if node is not None and node.op_type in _KINDS:
        logits = node.inputs[0]
        assert logits is not None
        assert logits.name is not None
        axis = node.attributes.get("axis")
        return Head(spec.name, _KINDS[node.op_type], logits.name, -1 if axis is None else axis.as_int())
    if targets is not None and targets.dtype.kind in "iu":
        found = _class_axis(spec, targets.shape)
        if found is not None:
            return Head(spec.name, "softmax" if (spec.shape[found] or 1) > 1 else "sigmoid", spec.name, found)
    return Head(spec.name, "values", spec.name)


def _class_axis(spec: TensorSpec, labels: tuple[int, ...]) -> int | None:
    """The axis of the output whose places are the classes of labels in the shape (n,) or (n, H, W), or None."""
    shape = spec.sample_shape
    if len(labels) == 1:
        long = [axis for axis, size in enumerate(shape, 1) if size != 1]
        return None if len(long) > 1 else (*long, len(shape))[0]
    axes = (1, len(shape)) if spec.layout is Layout.NCHW else (len(shape), 1)
    return next((axis for axis in axes if (*shape[: axis - 1], *shape[axis:]) == labels[1:]), None)
