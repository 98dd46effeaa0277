"""What is known of an artifact, and from where: the runtime's account, timings, quality, and the verdicts on them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from edgekit.core.types import Precision

__all__ = [
    "Account", "Delegation", "EvidenceKind", "Gate", "Measurement", "Metric", "OpAccount", "PrecisionProof", "Product",
    "Timing",
]  # fmt: skip

# Inside a class with a field called `float`, the type needs another name.
_Number = float


class EvidenceKind(enum.StrEnum):
    """Where a figure comes from; figures of different kinds are never compared."""

    MEASURED = "measured"
    EMULATED = "emulated"
    MODELLED = "modelled"


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
    limit: Any
    value: Any
    passed: bool | None
    asked: bool = False
    resolved: bool | None = None
    note: str = ""
