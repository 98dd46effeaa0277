"""How large a model may be, and the input sizes that it leaves open, filled in from --input-shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.core.errors import InvalidInputError

if TYPE_CHECKING:
    import onnx

__all__ = ["MAX_BYTES", "Shape", "fill_sizes", "write_sizes"]

Shape = tuple[int | None, ...]
# The most that a model may hold, or unpack to: weights of a network for small devices are far below.
MAX_BYTES = 2 << 30


def fill_sizes(own: Mapping[str, Shape | None], given: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The shape of every input, with a size for each axis but the batch, which stays as it is in the model.

    Args:
        own: the inputs' shapes by name; None for a size that the model leaves open, or for a whole shape.
        given: sizes from the user, batch included.

    Raises:
        InvalidInputError: a size stays open, contradicts the model's own, or is for an input that isn't there.
    """
    unknown = sorted(set(given) - set(own))
    if unknown:
        raise InvalidInputError(
            f"the model has no input called {unknown[0]!r}; its inputs are {', '.join(own)}",
            blame="your --input-shape",
            remedy="Use one of these names.",
        )
    return {name: _fill(name, shape, given.get(name)) for name, shape in own.items()}


def write_sizes(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> None:
    """Give the inputs of an ONNX graph their shapes; None is an open size."""
    for value in graph.input:
        tensor = value.type.tensor_type
        tensor.shape.Clear()
        for size in shapes[value.name]:
            tensor.shape.dim.add(dim_value=size)


def _fill(name: str, own: Shape | None, given: Sequence[int] | None) -> Shape:
    if own is None:
        own = (None,) * len(given or (1, 3, 224, 224))
    if given is not None and not _agree(own, given):
        raise InvalidInputError(
            f"--input-shape {name}={','.join(map(str, given))} contradicts the model's own {_written(own)}",
            blame="your --input-shape",
            remedy=f"Only the sizes marked ? are open: {_written(own)}",
        )
    shape = own if given is None else (*own[:1], *given[1:])
    if None in shape[1:]:
        example = ",".join(str(size or 224) for size in (own[0] or 1, *own[1:]))
        raise InvalidInputError(
            f"the model leaves the size of its input {name!r} open: {_written(own)}",
            blame="your model file",
            remedy=f"Fix it, with your own sizes: --input-shape {name}={example}",
        )
    return shape


def _agree(own: Shape, given: Sequence[int]) -> bool:
    return len(own) == len(given) and all(o in (None, g) and g > 0 for o, g in zip(own, given, strict=True))


def _written(shape: Shape) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)
