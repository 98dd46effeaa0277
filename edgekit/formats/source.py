"""What an importer hands on: the graph, and the framework that made it standing by as the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.ir.run import Arrays, probe_specs

if TYPE_CHECKING:
    import onnx

    from edgekit.passes.normalise.nms import Cut

__all__ = ["Source", "by_batch", "check_weights", "smallest_probe", "undeclared_state"]


@dataclass(frozen=True)
class Source:
    """A model as its importer read it.

    Attributes:
        format: "keras", "h5", "onnx", "savedmodel" or "tflite".
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


def smallest_probe(specs: Sequence[TensorSpec]) -> Arrays:
    """Random inputs of one batch, to see whether a network runs at all."""
    return probe_specs(specs, seed=0, samples=next((spec.shape[0] for spec in specs if spec.shape), None) or 1)


def by_batch(
    specs: Sequence[TensorSpec], feeds: Arrays, run: Callable[[Arrays], Arrays], open_batch: int | None = None
) -> Arrays:
    """What `run` answers for all samples, in the batches that the inputs fix, or else `open_batch` (None: all) at once.

    Args:
        specs: the inputs.
        feeds: inputs by name, with a leading sample axis.
        run: answers one batch.
    """
    shaped = {spec.name for spec in specs if spec.shape}
    samples = max((len(feeds[name]) for name in shaped), default=1)
    batch = next((spec.shape[0] for spec in specs if spec.shape), None) or open_batch or samples
    parts = [
        run({name: value[at : at + batch] if name in shaped else value for name, value in feeds.items()})
        for at in range(0, samples, batch)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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


def undeclared_state(cause: str) -> InvalidInputError:
    """The error for a network that remembers something from one call to the next without saying so."""
    return _error(
        cause,
        "Build it again with the state as inputs and outputs of its own, then declare each pair: --state INPUT=OUTPUT",
    )


def _error(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your model file", remedy=remedy)
