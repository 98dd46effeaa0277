"""What an importer hands on: the graph, and the framework that made it standing by as the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.ir.run import Arrays

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.normalise.nms import Cut

__all__ = ["Source", "check_weights"]


@dataclass(frozen=True)
class Source:
    """A model as its importer read it.

    Attributes:
        format: "keras", "h5" or "onnx".
        proto: the graph in ONNX, not yet in normal form; inputs have a size for every axis but the batch.
        runtime: the source framework's runtime and its version.
        inputs: name, shape and element type of each input, in order.
        answer: runs the source framework itself: inputs by name (leading sample axis) → outputs by name.
        layouts: what the axes of a 4-D input or output mean, where the source says so.
        layers: paths of the layers that the graph's node names begin with, where the framework has layers.
        warnings: what the user should know.
        cuts: what was cut off the graph; `answer` gives the outputs of what is left.
        beside: files that hold the model's weights beside the model file, relative to its folder.
    """

    format: str
    proto: onnx.ModelProto
    runtime: str
    inputs: tuple[TensorSpec, ...]
    answer: Callable[[Arrays], Arrays]
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()
    beside: tuple[str, ...] = ()


def check_weights(weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Check that a model's weights are numbers, and are there.

    An attention mask or a bound may be infinite; a tensor that mixes infinities with ordinary values is broken.

    Args:
        weights: the model's tensors by name; only floating-point ones are looked at.

    Raises:
        InvalidInputError: NaN or infinite weights (names the tensor), none at all, or nothing but zeros.
    """
    floats = {name: value for name, value in weights.items() if value.dtype.kind == "f" and value.size}
    for name, value in floats.items():
        finite = np.isfinite(value)
        if np.isnan(value).any() or (not finite.all() and value[finite].any()):
            raise _error(
                f"the weights {name!r} hold {np.count_nonzero(~finite)} NaN or infinite values of {value.size}",
                "Training diverged: go back to a checkpoint before it did.",
            )
    if not floats:
        raise _error("the model has no weights: there is nothing to compress or deploy", "Give the trained model.")
    if not any(value.any() for value in floats.values()):
        raise _error(
            f"every weight of the model is zero ({', '.join(list(floats)[:3])}, …)",
            "Load the trained weights before saving the model.",
        )


def _error(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your model file", remedy=remedy)
