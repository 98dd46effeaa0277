"""What a Model's outputs are to a loss: classes behind a softmax or a sigmoid, trained on their logits, or values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import InvalidInputError
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

    An output that ends in neither softmax nor sigmoid gives logits itself where its targets are classes.
    """
    return tuple(_head(value, targets.get(str(value.name))) for value in model.graph.outputs)


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


def _head(output: ir.Value, targets: Array | None) -> Head:
    name, node = str(output.name), output.producer()
    while node is not None and node.op_type in _ARRANGING:
        source = node.inputs[0]
        node = None if source is None else source.producer()
    if node is not None and node.op_type in _KINDS:
        logits = node.inputs[0]
        assert logits is not None
        assert logits.name is not None
        axis = node.attributes.get("axis")
        return Head(name, _KINDS[node.op_type], logits.name, -1 if axis is None else axis.as_int())
    if targets is not None and targets.dtype.kind in "iu":
        sizes = [size for size in (output.shape or ())[1:] if size != 1]
        if targets.ndim == 1 and len(sizes) <= 1:
            return Head(name, "softmax" if sizes else "sigmoid", name)
    return Head(name, "values", name)
