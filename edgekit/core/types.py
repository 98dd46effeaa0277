"""The frozen vocabulary: values that travel between the rooms of edgekit and across process boundaries.

Everything here, and in `edgekit.core.evidence`, is plain data, hashable where it can be; `edgekit.core.plain` turns it
into JSON and back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "INT4_TOP", "Artifact", "Integers", "Layout", "Options", "Precision", "Preprocess", "QuantPlan", "States",
    "TensorSpec", "permutation",
]  # fmt: skip


# What a runtime is told: (key, value) pairs.
Options = tuple[tuple[str, str], ...]
# Recurrent state: (input, the output that feeds it at the next step) pairs.
States = tuple[tuple[str, str], ...]
# The greatest integer of weights in four bits.
INT4_TOP = 7


class Precision(enum.StrEnum):
    """A storage or compute precision, the smallest first.

    An artifact may also be mixed: int8, but for the layers that its plan names. A layer never is. A dynamic one stores
    its weights in int8; what it reads comes in float, and is rounded by its kernel as it comes.
    """

    INT8 = "int8"
    MIXED = "mixed"
    DYNAMIC = "dynamic"
    FP16 = "fp16"
    FP32 = "fp32"


class Layout(enum.StrEnum):
    """The meaning of a tensor's axes. `ND` makes no claim."""

    NHWC = "NHWC"
    NCHW = "NCHW"
    NC = "NC"
    ND = "ND"


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output.

    Attributes:
        name: the tensor's name in the model.
        shape: sizes; `None` only in front, for the symbolic batch.
        dtype: numpy's name of the element type.
        layout: the meaning of the axes.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    layout: Layout = Layout.ND

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample: without the batch, which is 1 or free; more in front are the layers of a state."""
        batched = self.shape[:1] in ((None,), (1,))
        return tuple(size or 1 for size in (self.shape[1:] if batched else self.shape))

    def with_batch(self, batch: int) -> tuple[int, ...]:
        """The static shape for a batch of `batch` samples."""
        return tuple(batch if size is None else size for size in self.shape)


@dataclass(frozen=True)
class Preprocess:
    """How raw data becomes the model's input. Part of the model's contract; every stage applies the same.

    Attributes:
        resize: how an image reaches the input's height and width: "stretch", "crop" (scale, centre crop) or
            "letterbox" (scale, pad).
        color: "rgb" or "bgr"; a model with one input channel gets luminance.
        normalize: "none" (0..255 as they are), "0..1", "-1..1" or "imagenet" (0..1, then ImageNet's mean and
            standard deviation per channel).
    """

    resize: str = "stretch"
    color: str = "rgb"
    normalize: str = "none"


@dataclass(frozen=True)
class QuantPlan:
    """Which precision each layer gets: `default`, but for the layers named in `layers` (name, precision)."""

    default: Precision
    layers: tuple[tuple[str, Precision], ...] = ()

    @property
    def precision(self) -> Precision:
        """What the whole is called: mixed where a layer gets another precision than the others."""
        return Precision.MIXED if any(precision is not self.default for _, precision in self.layers) else self.default


@dataclass(frozen=True)
class Integers:
    """What int8 is to a back end: `top`, the greatest integer of weights, and whether activations are symmetric.

    A symmetric scale has 0 in its middle, or at its end where nothing is negative. `answers` says whether the network's
    outputs are integers, too, or what goes into a last softmax or sigmoid; `pools_rescale`, whether an average pool
    gives its results a scale of their own, or the one of its input.
    """

    top: int = 127
    symmetric: bool = False
    answers: bool = False
    pools_rescale: bool = True


@dataclass(frozen=True)
class Artifact:
    """Files that a back end made for a target.

    Attributes:
        backend: name of the back end that made it.
        files: the artifact's files, the one that the runtime opens first.
        digest: SHA-256 over the files' contents, in order.
        plan: the precisions that were promised.
        runtime_options: what the runtime must be told so that it runs as promised (`--option` of the bench script).
        device_runtime: module of the runtime that its device has; "" for the first that is found there.
        min_runtime: the oldest runtime that loads it, like "ai-edge-litert 1.0", or "" when not known.
        inputs, outputs: what the artifact itself takes and gives, in the Model's order, with static shapes. Where its
            layout differs from the Model's, `permutation` of the two layouts says how data gets from one to the other.
        states: its recurrent state, by its own names.
    """

    backend: str
    files: tuple[Path, ...]
    digest: str
    plan: QuantPlan
    runtime_options: Options = ()
    device_runtime: str = ""
    min_runtime: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    states: States = ()

    @property
    def path(self) -> Path:
        """The file that the runtime opens."""
        return self.files[0]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)


def permutation(source: Layout, target: Layout, rank: int) -> tuple[int, ...]:
    """The axes for `numpy.transpose` that bring an array of `rank` axes from layout `source` to layout `target`.

    Axes that an array has more than the layouts name stand in front, and stay there.

    Raises:
        ValueError: the two layouts do not name the same axes.
    """
    if source is target:
        return tuple(range(rank))
    more = rank - len(target.value)
    if sorted(source.value) != sorted(target.value) or more < 0:
        raise ValueError(f"{rank} axes of {source} can't be ordered as {target}")
    return (*range(more), *(more + source.value.index(axis) for axis in target.value))
