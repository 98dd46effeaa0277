"""What a build answers: the document of `build --json`, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit.core.evidence import EvidenceKind, Gate, Metric, PrecisionProof
from edgekit.core.repair import Repair
from edgekit.core.types import Precision
from edgekit.passes.recover.settings import LearningCurve

__all__ = ["BuildReport", "DeviceReport", "Latency", "PrunedReport", "RepairedReport", "TargetReport", "ThinnedReport"]


@dataclass(frozen=True)
class Latency:
    """How fast the artifact ran, beside the float model on the same runtime and threads. Milliseconds of wall time.

    Attributes:
        ratio: artifact ÷ float, medians of CPU time of interleaved inferences.
        ratio_wall_min: the same from wall-time minima, as a cross-check.
        float_p50_ms: the float artifact in the same run.
        default_p50_ms: the float artifact as the runtime would run it if it were told nothing (OpenVINO may choose
            bf16); None where the runtime has no such freedom.
        invalid: why these figures prove nothing: the board throttled, its clock drifted.
    """

    kind: EvidenceKind
    where: str
    runtime: str
    threads: int
    batch: int
    ratio: float | None
    p50_ms: float
    p90_ms: float
    p99_ms: float
    ratio_wall_min: float | None
    float_p50_ms: float | None
    default_p50_ms: float | None
    invalid: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceReport:
    """What the artifact showed on one device that is not this host.

    Attributes:
        device: its URI; `name` is what the user calls it.
        is_target: whether its clock speaks for the target. Only then latency and memory are gated.
        metrics: from its own answers to the report split; emulated, to at most 1,000 samples of it.
        agreement: its answers held against this host's to the same samples; an agreement of 100 points is every one.
        golden_sqnr: the same for the golden samples, in dB.
        latency: None where it is emulated.
        error: why it gave no answer, as `EdgekitError.to_dict` says it.
    """

    device: str
    name: str
    exit_code: int
    passed: bool | None
    kind: EvidenceKind | None = None
    where: str = ""
    runtime: str = ""
    is_target: bool = False
    metrics: tuple[Metric, ...] = ()
    agreement: tuple[Metric, ...] = ()
    golden_sqnr: float | None = None
    latency: Latency | None = None
    peak_bytes: int | None = None
    gates: tuple[Gate, ...] = ()
    error: Mapping[str, str] | None = None


@dataclass(frozen=True)
class PrunedReport:
    """What pruning took from the network.

    Attributes:
        macs, params: what is left of them, as shares of the fused original's, 0..1: of the form that is compiled.
        factorized: whether ranks went, and not channels: what is said of a group is then of a layer, and of its rank.
        multiple: what the counts of channels that are left are multiples of.
        groups: name, kept and channels before of each group that lost some.
        dense_ratio: the artifact's time ÷ that of the unpruned model in the same precision, medians of CPU time of
            interleaved inferences on the same runtime, on the machine named in the latency.
        dense_bytes: of that one's files.
        speedup: how many times as fast as that one it was to be; None where a share of the MACs was to go.
        predicted: and how many times as fast what its layers take alone says that it is.
    """

    macs: float
    params: float
    factorized: bool
    multiple: int
    groups: tuple[Mapping[str, Any], ...]
    dense_ratio: float | None
    dense_bytes: int
    speedup: float | None = None
    predicted: float | None = None


@dataclass(frozen=True)
class ThinnedReport:
    """What became of the weights.

    Attributes:
        sparsity: the zeros among the weights that take part, as a share, 0..1.
        layers: name, weights, zeros and code_book of each layer that takes part: how many weights it has, how many of
            these are zero, and how many values they share (None where each keeps its own).
        filled_ratio: the artifact's time ÷ that of the same network with all of its weights, in the same precision,
            medians of CPU time of interleaved inferences on the same runtime, on the machine named in the latency.
    """

    sparsity: float
    layers: tuple[Mapping[str, Any], ...]
    filled_ratio: float | None


@dataclass(frozen=True)
class RepairedReport:
    """What was done to the network before it was made int8.

    Attributes:
        repair: that.
        tried: what it was chosen from, in the order of trying; empty where nothing was weighed. Each row has the
            `repair` in words, whether int8 was then `accurate` on the selection split, its `drop` in the metric's
            unit (None without one) and the `sqnr` of its worst output in dB.
    """

    repair: Repair
    tried: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class TargetReport:
    """The result for one target.

    Attributes:
        bytes, download_bytes: of the artifact's files, and of what travels: each of them compressed with zstd.
        float_bytes, float_download_bytes: the same of the float artifact.
        params, macs: of what was compiled: less than the original's where it was pruned.
        pruned: what pruning took; None where nothing was pruned.
        thinned: the zeros and shared values of the weights; None where they are as they were.
        recovered: the learning curve of each training, in their order.
        repaired: what was done before it was made int8; None where it is not, or where there was nothing to repair.
        latency: measured on the target itself; None where it was not at hand.
        latency_at_host: measured on this machine, for a target that this machine is not. Never gated.
        speedup_at_host: float's time ÷ the artifact's there.
        confusion: of each output with class labels, counts on the report split: rows are the truth.
        passed: None when a gate is unproven and none failed.
        devices: what each device beside this host showed; metrics and gates are then those of the first that answered.
        store: what `edgekit explain` reads of it: the original model, the plain one (fused, as it came), the one that
            was compiled, and the data, each by its place in the store.
        error: why there is no artifact, as `EdgekitError.to_dict` says it.
    """

    target: str
    backend: str
    precision: Precision | None
    exit_code: int
    passed: bool | None
    files: tuple[str, ...] = ()
    bytes: int | None = None
    float_bytes: int | None = None
    download_bytes: int | None = None
    float_download_bytes: int | None = None
    params: int | None = None
    macs: int | None = None
    pruned: PrunedReport | None = None
    thinned: ThinnedReport | None = None
    recovered: tuple[LearningCurve, ...] = ()
    repaired: RepairedReport | None = None
    peak_bytes: int | None = None
    metrics: tuple[Metric, ...] = ()
    confusion: Mapping[str, list[list[int]]] = field(default_factory=dict)
    latency: Latency | None = None
    latency_at_host: Latency | None = None
    speedup_at_host: float | None = None
    proof: PrecisionProof | None = None
    candidates: tuple[Mapping[str, Any], ...] = ()
    gates: tuple[Gate, ...] = ()
    devices: tuple[DeviceReport, ...] = ()
    store: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, str] | None = None


@dataclass(frozen=True)
class BuildReport:
    """The result of a build: `exit_code` is the lowest non-zero one of the targets, or 0.

    `source` is what was built from: its "format", and "int8" under "quantized" where it was quantized already: every
    `float` in the metrics is then the value of that source.
    """

    schema_version: int
    model: str
    source: Mapping[str, str | None]
    out: str
    passed: bool | None
    exit_code: int
    targets: tuple[TargetReport, ...]
