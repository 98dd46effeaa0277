"""The frozen vocabulary: values that travel between the rooms of edgekit and across process boundaries.

Everything here is plain data, hashable where it can be, and turns into JSON with `to_json` and back with `from_json`.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "INT4_TOP",
    "Account",
    "Artifact",
    "Delegation",
    "EvidenceKind",
    "Gate",
    "Integers",
    "Layout",
    "Measurement",
    "Metric",
    "OpAccount",
    "Options",
    "Precision",
    "PrecisionProof",
    "Preprocess",
    "Product",
    "QuantPlan",
    "States",
    "TensorSpec",
    "Timing",
    "from_json",
    "permutation",
    "to_json",
]


# What a runtime is told: (key, value) pairs.
Options = tuple[tuple[str, str], ...]
# Recurrent state: (input, the output that feeds it at the next step) pairs.
States = tuple[tuple[str, str], ...]
# The greatest integer of weights in four bits.
INT4_TOP = 7
# Inside a class with a field called `float`, the type needs another name.
_Number = float


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


class EvidenceKind(enum.StrEnum):
    """Where a figure comes from; figures of different kinds are never compared."""

    MEASURED = "measured"
    EMULATED = "emulated"
    MODELLED = "modelled"


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


@dataclass(frozen=True)
class OpAccount:
    """How often the runtime ran an op type in a precision: from the runtime's own account, not from the recipe.

    `delegated` of the `count` ran in the runtime's delegate (XNNPACK for TFLite).
    """

    op: str
    precision: str
    count: int
    delegated: int = 0


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product that the runtime ran: from its own account.

    Attributes:
        layers: the names in it, as the runtime calls them: of the layer itself and of what was fused into it.
        op: the runtime's name of the kernel.
        precision: what it computed in; "float32×int8" where float data met integer weights.
        stored: the element type of its weights in the file; "" where it has none, or they are not known to be its own.
    """

    layers: tuple[str, ...]
    op: str
    precision: str
    stored: str = ""


@dataclass(frozen=True)
class Account:
    """The runtime's own account of an artifact, as the bench script reports it.

    Attributes:
        storage: bytes of constants per element type ("float32", "float16", "int8", "int32", …).
        compute: op types with the precision they really ran in.
        weights: the part of `storage` that is weights of convolutions and matrix products: no biases, no scales.
        products: the convolutions and matrix products one by one.
        islands: how often it goes from 8-bit integers to float and back.
    """

    storage: tuple[tuple[str, int], ...]
    compute: tuple[OpAccount, ...]
    weights: tuple[tuple[str, int], ...] = ()
    products: tuple[Product, ...] = ()
    islands: int = 0


@dataclass(frozen=True)
class Delegation:
    """What the runtime handed on.

    Attributes:
        asked: the delegate, device or provider that was asked for; None where the runtime chose.
        applied: those that ran something, each with how many operators; empty when the plain CPU code ran everything.
        nodes: how many operators there are.
    """

    asked: str | None
    applied: tuple[tuple[str, int], ...]
    nodes: int


@dataclass(frozen=True)
class PrecisionProof:
    """What a plan promised against what the runtime's account shows; `violations` is empty when it holds.

    `islands` is how often the artifact goes from 8-bit integers to float and back: that is slow, but no lie.
    """

    promised: Precision
    storage: str
    compute: str
    violations: tuple[str, ...] = ()
    islands: int = 0


@dataclass(frozen=True)
class Timing:
    """Latency of one artifact, from interleaved single inferences. Milliseconds.

    `cpu_ms` is the median CPU time of the process, the steady figure on a shared machine; p50 to p99 are wall time.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    cpu_ms: float
    first_ms: float
    load_ms: float
    runs: int


@dataclass(frozen=True)
class Measurement:
    """What one run of the bench script answered about one artifact.

    Attributes:
        kind: measured or emulated (then `timing` is None).
        where: the machine that ran, for people.
        runtime: runtime and version, like "ai-edge-litert 2.3.0".
        threads: intra-op threads that the runtime was given.
        timing: latency, or None when it was not asked for or can't be believed.
        ratio: CPU-median ratio artifact ÷ baseline, interleaved; None without a baseline.
        ratio_wall_min: the same from wall-time minima, as a cross-check.
        first_ratio: of an artifact that another one was timed against: that one ÷ this one, as `ratio`.
        peak_bytes: growth of the process' peak memory through load and inference.
        account: the runtime's own account of precisions.
        invalid: why the run proves no latency, as the script says: the board throttled, its clock drifted.
        delegation: what the runtime handed on, and to whom.
        instructions: that one inference executes, counted by an emulator; None where none was asked to.
    """

    kind: EvidenceKind
    where: str
    runtime: str
    threads: int
    timing: Timing | None
    ratio: float | None
    ratio_wall_min: float | None
    peak_bytes: int | None
    account: Account
    invalid: tuple[str, ...] = ()
    delegation: Delegation | None = None
    instructions: int | None = None
    first_ratio: float | None = None


@dataclass(frozen=True)
class Metric:
    """A quality figure of the artifact beside the original float model's, on the same samples.

    Attributes:
        name: "top1", "top5", "agreement", "sqnr", "mse", … or the user's function.
        unit: "points" (0..100), "dB", or "" for the metric's own unit.
        higher_is_better: the direction.
        split: "selection" or "report".
        n: number of samples.
        float: the float model's value; artifact: the artifact's; None where there is nothing to compare (agreement).
        drop: float − artifact in `unit`, positive when the artifact is worse for a higher-is-better metric;
            None when there is no float value.
        ci95: the paired 95 % interval of the drop (or of the value, for agreement), None where undefined.
        resolved: of the gated one, whether the interval lies wholly on the verdict's side; None for the others.
        kind: measured or emulated.
        where: the machine that ran the artifact.
    """

    name: str
    unit: str
    higher_is_better: bool
    split: str
    n: int
    float: _Number | None
    artifact: _Number
    drop: _Number | None = None
    ci95: tuple[_Number, _Number] | None = None
    resolved: bool | None = None
    kind: EvidenceKind = EvidenceKind.MEASURED
    where: str = ""


@dataclass(frozen=True)
class Gate:
    """A condition on the result. `passed` is None when it could not be evaluated.

    Attributes:
        name: "max-drop", or without labels "min-agreement", "min-class-agreement", "min-mask-agreement",
            "min-box-agreement" and "min-sqnr"; "min-speedup", "max-latency", "max-size", "max-memory"; "require".
        limit: the figure that was asked for.
        value: the figure that was found.
        passed: the verdict; None when unproven.
        asked: True when the user asked for it (an unproven one then exits 12), False for a default.
        resolved: for accuracy, whether the 95 % interval lies wholly on the verdict's side.
        note: why it is unproven, or how many samples would settle it.
    """

    name: str
    limit: typing.Any
    value: typing.Any
    passed: bool | None
    asked: bool = False
    resolved: bool | None = None
    note: str = ""


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


def to_json(value: Any) -> Any:
    """`value` as plain JSON types: dataclasses become objects, tuples lists, paths and enums strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    return value


def from_json(kind: Any, data: Any) -> Any:
    """The value of type `kind` that `to_json` described. Understands dataclasses, tuples, unions with None, enums."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        return from_json(next(a for a in arguments if a is not type(None)), data)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(from_json(arguments[0], item) for item in data)
        return tuple(from_json(argument, item) for argument, item in zip(arguments, data, strict=True))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(
            **{f.name: from_json(hints[f.name], data[f.name]) for f in dataclasses.fields(kind) if f.name in data}
        )
    if isinstance(kind, type) and (issubclass(kind, enum.Enum | Path)):
        return kind(data)
    return data
