"""Gates: what was asked held against what was found. Pure: figures in, verdicts out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edgekit.core.evidence import EvidenceKind, Gate, Metric
from edgekit.data.metrics.intervals import Interval, resolved, samples_to_settle

__all__ = [
    "Evidence", "Limits", "combine", "default_max_drop", "inside_accuracy", "judge", "over_budget", "passed",
    "with_resolved",
]  # fmt: skip

ACCURACY_CODE, COST_CODE, UNPROVEN_CODE = 4, 5, 12
# The interleaved CPU-median ratio of equal models repeats to within this.
SPEED_RESOLUTION = 0.02
# How far below the speed-up that pruning was to bring it may stay, as a share: channels go in whole steps.
SPEEDUP_TOLERANCE = 0.05
# Each sample on which two classifiers disagree can cost one right answer or win one: 2 points of disagreement are
# taken to stand for 1 point of accuracy.
DISAGREEMENT_PER_POINT = 2.0
MIN_CLASS_AGREEMENT = 80.0
# A pixel that changes its class leaves one area and joins another, whose unions both keep it: it costs intersection
# over union about twice what it costs the share of equal pixels.
MASK_LOSS_PER_POINT = 2 * DISAGREEMENT_PER_POINT
# Of 20 boxes, one that is lost for good is what 1 point lets through; fewer than 20 settle nothing.
BOX_LOSS_PER_POINT = 5.0
MIN_BOXES = 20
# At a drop of 1 point. A classifier's logits: an error of a tenth of their size. Outputs of whose meaning nothing is
# known (a detector's background anchors count like its faces) are only guarded against being broken: half the signal,
# twice the signal or another signal are below 10 dB. Labels or --metric judge them properly.
MIN_LOGITS_SQNR, MIN_SQNR = 20.0, 10.0
# An artifact nearer to the float model than this to the best constant has not shown that it does more than a constant.
MIN_OVER_CONSTANT = 3.0

_ACCURACY_GATES = frozenset(
    {"max-drop", "min-agreement", "min-box-agreement", "min-class-agreement", "min-mask-agreement", "min-sqnr"}
)

_BUDGET = frozenset({"max-latency", "max-size", "min-speedup"})


class Limits(Protocol):
    """What was asked for; None is not asked. `edgekit.core.recipe.GateSection` is one."""

    @property
    def max_drop(self) -> float | None:
        """Largest drop against the original float model, in the metric's unit; see `default_max_drop`."""

    @property
    def min_speedup(self) -> float | None:
        """Float's time ÷ the artifact's, on the same back end, device and threads; 1 where not asked."""

    @property
    def max_latency_ms(self) -> float | None:
        """p90 of wall time on the target's own device."""

    @property
    def max_size_bytes(self) -> int | None:
        """Of the artifact's files."""

    @property
    def max_memory_bytes(self) -> int | None:
        """Peak growth through load and inference on the target's own device; all its memory where not asked."""

    @property
    def strict(self) -> bool:
        """The accuracy verdict must be resolved, and no gate unproven."""

    @property
    def require(self) -> str | None:
        """Evidence that must come from the target's own device.

        "measured": accuracy and speed, measured; "emulated": accuracy, at least in emulation.
        """


@dataclass(frozen=True)
class Evidence:
    """What was found out about an artifact.

    Attributes:
        metrics: as `edgekit.data.metrics.evaluate` gives them, the gated one first; empty without data.
        ratio: artifact ÷ original float model; None where the target's own device did not run both.
        p90_ms: wall time on the target's own device, or None.
        size_bytes: of the artifact's files.
        memory_bytes: on the target's own device, or None.
        kind: how the target's own device answered, measured or emulated; None where only this host did. Only what was
            measured proves a time or memory.
        target_bytes: the target's memory, or None where it isn't known.
        dense_ratio: pruned artifact ÷ the unpruned one in the same precision, on the target or else on this host, which
            has the same runtime; None where nothing was pruned.
        asked_of_dense: how many times as fast as that one it was to be; None where that was not said.
        invalid: why the run proves no latency: the board throttled, its clock drifted. A ratio stands that: both
            artifacts met it, inference by inference.
    """

    metrics: tuple[Metric, ...] = ()
    ratio: float | None = None
    p90_ms: float | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None
    kind: EvidenceKind | None = None
    target_bytes: int | None = None
    dense_ratio: float | None = None
    asked_of_dense: float | None = None
    invalid: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether the target's own hardware ran it."""
        return self.kind is EvidenceKind.MEASURED


def judge(limits: Limits, evidence: Evidence) -> tuple[tuple[Gate, ...], int]:
    """The gates that apply, accuracy first, and the exit code.

    The code is 0, 4 (accuracy), 5 (speed, size, memory) or 12 (unproven though it was asked for, or under `strict`
    or `require`), the lowest that applies.
    """
    gates = (*_accuracy(limits.max_drop, evidence.metrics), *_cost(limits, evidence), *_required(limits, evidence))
    return gates, combine(_code(gate, strict=limits.strict) for gate in gates)


def passed(gates: Sequence[Gate], exit_code: int = 0) -> bool | None:
    """The outcome of `judge` in a word: False where a gate failed, None where something needed is unproven.

    Needed are the accuracy and whatever was asked for; a default speed gate that no board was there to prove does not
    stand in the way.
    """
    if any(gate.passed is False for gate in gates):
        return False
    unknown = any(gate.passed is None for gate in gates if gate.name in _ACCURACY_GATES)
    return None if exit_code or unknown else True


def combine(codes: Iterable[int]) -> int:
    """The exit code of several outcomes: the lowest that is not 0."""
    return min((code for code in codes if code), default=0)


def default_max_drop(asked: float | None, gated: Metric | None = None) -> float:
    """The accuracy limit that holds: what was asked, or 1 point; for a metric in a unit of its own 1 % of float's."""
    if asked is not None:
        return asked
    if gated is None or gated.float is None or gated.unit == "points":
        return 1.0
    return 0.01 * abs(gated.float)


def inside_accuracy(metrics: Sequence[Metric], max_drop: float | None) -> bool:
    """Whether the accuracy gates hold on these metrics; without any there is nothing that they could object to."""
    return not metrics or all(gate.passed for gate in _accuracy(max_drop, metrics))


def over_budget(limits: Limits, evidence: Evidence) -> list[Gate]:
    """The gates on size, latency and speed-up that were asked for and do not hold; one without a figure holds."""
    return [gate for gate in _cost(limits, evidence) if gate.name in _BUDGET and gate.asked and gate.passed is False]


def with_resolved(metrics: Sequence[Metric], gates: Sequence[Gate]) -> tuple[Metric, ...]:
    """The metrics, with the first accuracy gate's `resolved` put to the one that it judged."""
    judged = next((m for m in metrics if m.drop is not None or m.artifact == gates[0].value), None)
    return tuple(replace(metric, resolved=gates[0].resolved) if metric is judged else metric for metric in metrics)


def _code(gate: Gate, *, strict: bool) -> int:
    if gate.passed is False:
        return ACCURACY_CODE if gate.name in _ACCURACY_GATES else COST_CODE
    unproven = gate.passed is None and (gate.asked or strict)
    unresolved = strict and gate.resolved is False
    return UNPROVEN_CODE if unproven or unresolved else 0


def _accuracy(max_drop: float | None, metrics: Sequence[Metric]) -> list[Gate]:
    asked, limit = max_drop is not None, default_max_drop(max_drop, metrics[0] if metrics else None)
    if not metrics:
        return [Gate("max-drop", limit, None, None, asked, note="there is no data to measure the accuracy on")]
    if metrics[0].drop is None:
        return _fidelity(metrics, limit, asked=asked)
    gated = metrics[0]
    assert gated.drop is not None
    sign = 1 if gated.higher_is_better else -1
    interval = gated.ci95 and _flipped(gated.ci95, sign)
    return [_gate("max-drop", limit, sign * gated.drop, interval, gated.n, at_most=True, asked=asked)]


def _fidelity(metrics: Sequence[Metric], max_drop: float, *, asked: bool) -> list[Gate]:
    """Without labels: agreement with the float model (a classifier's also in its worst class), and SQNR."""
    gates = []
    for metric_name, gate_name, limit in (
        ("agreement", "min-agreement", 100 - DISAGREEMENT_PER_POINT * max_drop),
        ("mask_agreement", "min-mask-agreement", 100 - MASK_LOSS_PER_POINT * max_drop),
        ("box_agreement", "min-box-agreement", 100 - BOX_LOSS_PER_POINT * max_drop),
        ("worst_class_agreement", "min-class-agreement", MIN_CLASS_AGREEMENT),
    ):
        if found := _named(metrics, metric_name):
            worst = min(found, key=_value)
            gate = _gate(gate_name, limit, _value(worst), worst.ci95, worst.n, at_most=False, asked=asked)
            gates.append(_with_boxes(gate, metrics))
    classifiers = {_output(metric) for metric in _named(metrics, "agreement")}
    judged = [m for m in _named(metrics, "logits_sqnr") if _output(m) in classifiers] or [
        *_named(metrics, "logits_sqnr"),
        *_named(metrics, "sqnr"),
    ]
    # A looser or tighter drop moves the error power that is let through in proportion.
    limit = (MIN_LOGITS_SQNR if classifiers else MIN_SQNR) - 10 * math.log10(max(max_drop, 0.01))
    return [*gates, _sqnr_gate(min(judged, key=_value), metrics, limit, asked=asked)]


def _with_boxes(gate: Gate, metrics: Sequence[Metric]) -> Gate:
    """The gate, left open where it goes by boxes and the float model found too few."""
    boxes = next((metric.float or 0.0 for metric in _named(metrics, "boxes")), MIN_BOXES)
    if gate.name != "min-box-agreement" or boxes >= MIN_BOXES:
        return gate
    note = f"the float model finds {boxes:.0f} boxes in these images, {MIN_BOXES} are needed: give images with objects"
    return replace(gate, passed=None, resolved=None, note=note)


def _sqnr_gate(metric: Metric, metrics: Sequence[Metric], limit: float, *, asked: bool) -> Gate:
    name = f"{metric.name.partition(':')[0]}_over_constant"
    over = next(_value(other) for other in _named(metrics, name) if _output(other) == _output(metric))
    gate = _gate("min-sqnr", limit, _value(metric), None, metric.n, at_most=False, asked=asked)
    if gate.passed and over < MIN_OVER_CONSTANT:
        note = "the float model answers nearly the same to all these samples: a constant would do as well"
        return replace(gate, passed=None, note=note)
    return gate


def _gate(
    name: str, limit: float, value: float, interval: Interval | None, n: int, *, at_most: bool, asked: bool
) -> Gate:
    """A gate on a figure with an interval; says how many samples would settle an open verdict."""
    sign = 1 if at_most else -1
    upward = interval and _flipped(interval, sign)
    settled = resolved(sign * value, upward, sign * limit)
    note = ""
    if upward and not settled:
        needed = samples_to_settle(sign * value, upward, sign * limit, n)
        note = f"about {needed:,} samples would settle it" if needed else "no number of samples would settle it"
    return Gate(name, limit, value, sign * value <= sign * limit, asked, settled, note)


def _flipped(interval: Interval, sign: int) -> Interval:
    return interval if sign > 0 else (-interval[1], -interval[0])


def _named(metrics: Sequence[Metric], name: str) -> list[Metric]:
    return [metric for metric in metrics if metric.name.partition(":")[0] == name]


def _output(metric: Metric) -> str:
    return metric.name.partition(":")[2]


def _value(metric: Metric) -> float:
    return float(metric.artifact)


def _cost(limits: Limits, evidence: Evidence) -> list[Gate]:
    """Speed, latency, size, memory. Speed and memory have defaults; the others are there where they were asked for."""
    p90 = evidence.p90_ms if evidence.measured and not evidence.invalid else None
    grown = evidence.memory_bytes if evidence.measured else None
    gates = [
        _speed(limits.min_speedup, evidence),
        _faster_than_dense(evidence),
        _at_most("max-latency", limits.max_latency_ms, p90, _untimed(evidence)),
        _at_most("max-size", limits.max_size_bytes, evidence.size_bytes, ""),
        _at_most("max-memory", limits.max_memory_bytes, grown, _unmeasured(evidence)),
    ]
    if limits.max_memory_bytes is None and grown is not None:
        gates.append(_at_most("max-memory", evidence.target_bytes, grown, "", asked=False))
    return [gate for gate in gates if gate is not None]


def _speed(least: float | None, evidence: Evidence) -> Gate:
    asked, least = least is not None, 1.0 if least is None else least
    if evidence.ratio is None or not evidence.measured:
        return Gate("min-speedup", least, None, None, asked, note=_unmeasured(evidence))
    fast = evidence.ratio * least <= 1 + SPEED_RESOLUTION
    return Gate("min-speedup", least, 1 / evidence.ratio, fast, asked)


def _faster_than_dense(evidence: Evidence) -> Gate | None:
    """Whether pruning paid: fewer channels can well be slower, where they fill the kernels badly."""
    if evidence.dense_ratio is None:
        return None
    asked, reached = evidence.asked_of_dense, 1 / evidence.dense_ratio
    least = 1 / (1 + SPEED_RESOLUTION) if asked is None else max(asked * (1 - SPEEDUP_TOLERANCE), 1.0)
    note = "" if evidence.measured else "on this host"
    if reached < min(least, 1.0):
        note = "the pruned artifact is slower than the unpruned one: build without --prune, or prune more"
    elif reached < least:
        note = f"channels can't be left out so that it comes nearer: ask for --speedup {reached:.2f}"
    return Gate("pruned-speedup", asked or 1.0, reached, reached >= least, asked is not None, note=note)


def _at_most(name: str, most: float | None, value: float | None, unproven: str, *, asked: bool = True) -> Gate | None:
    """The gate, where there is a limit; open, with the note `unproven`, where no figure was found."""
    if most is None:
        return None
    if value is None:
        return Gate(name, most, None, None, asked, note=unproven)
    return Gate(name, most, value, value <= most, asked)


def _unmeasured(evidence: Evidence) -> str:
    """Why nothing of the target's own is known."""
    if evidence.kind is EvidenceKind.EMULATED:
        return "emulated: that proves answers, and no time or memory"
    return "its device did not say" if evidence.measured else "the target's own device did not run it"


def _untimed(evidence: Evidence) -> str:
    """Why its clock proves nothing."""
    return f"the run is invalid: {'; '.join(evidence.invalid)}" if evidence.invalid else _unmeasured(evidence)


def _required(limits: Limits, evidence: Evidence) -> list[Gate]:
    """`--require`: whether the target's own device answered in the way that was asked for."""
    if limits.require is None:
        return []
    measured = limits.require == EvidenceKind.MEASURED
    kinds = (EvidenceKind.MEASURED,) if measured else (EvidenceKind.MEASURED, EvidenceKind.EMULATED)
    proven = bool(evidence.metrics) and evidence.kind in kinds and (evidence.ratio is not None or not measured)
    note = "" if proven else f"the target's own device gave no {limits.require} evidence"
    return [Gate("require", limits.require, evidence.kind, True if proven else None, asked=True, note=note)]
