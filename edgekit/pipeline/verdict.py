"""From what the artifact showed, here and on its boards, to the report of a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.core.evidence import EvidenceKind, Gate, Metric
from edgekit.core.repair import PLAIN
from edgekit.core.types import Precision
from edgekit.devices.fleet import Outcome
from edgekit.pipeline.boards import Asked
from edgekit.pipeline.download import download_bytes
from edgekit.pipeline.findings import Showing, Trial
from edgekit.pipeline.trial import TargetJob
from edgekit.report.build_report import (
    DeviceReport,
    Latency,
    PrunedReport,
    RepairedReport,
    TargetReport,
    ThinnedReport,
)
from edgekit.report.gates import Evidence, combine, judge, passed, with_resolved

__all__ = ["all_passed", "failed", "target_report"]


def target_report(
    target: TargetJob,
    trial: Trial,
    here: Showing,
    boards: Sequence[tuple[Asked, Outcome[Showing]]],
    candidates: tuple[Mapping[str, Any], ...],
) -> TargetReport:
    """The report of one target: judged by the first board that answered, or by this host where there is none.

    Args:
        target, trial: what was built.
        here: what it showed on this host.
        boards: what it showed on each board, or why it didn't.
        candidates: the table that its precision was chosen from.
    """
    devices = tuple(_device_report(target, trial, asked, outcome) for asked, outcome in boards)
    shown = next(((asked, outcome.result) for asked, outcome in boards if outcome.result), None)
    asked, showing = shown or (None, here)
    speaks = asked.speaks if asked else target.speaks
    metrics, gates, exit_code = _judged(target, trial, showing, speaks=speaks, emulated=bool(asked and asked.emulated))
    exit_code = combine((exit_code, *(device.exit_code for device in devices)))
    on_target = _latency(target, showing) if speaks else None
    at_host = None if speaks else _latency(target, here)
    is_int8 = trial.artifact.plan.default is Precision.INT8
    return TargetReport(
        target=target.target.name,
        backend=target.backend.name,
        precision=trial.precision,
        exit_code=exit_code,
        passed=all_passed((passed(gates, exit_code), *(device.passed for device in devices))),
        files=tuple(file.name for file in trial.artifact.files),
        bytes=trial.artifact.size,
        float_bytes=target.float_artifact.size,
        download_bytes=download_bytes(target.job.store, trial.artifact),
        float_download_bytes=download_bytes(target.job.store, target.float_artifact),
        params=_cost(target, "params"),
        macs=_cost(target, "macs"),
        pruned=_pruned(target, trial, showing if speaks else here),
        thinned=_thinned(target, showing if speaks else here),
        recovered=target.curves,
        repaired=_repaired(target) if is_int8 else None,
        peak_bytes=showing.times.artifact.peak_bytes if speaks else None,
        metrics=metrics,
        confusion=showing.judgement.confusion,
        latency=on_target,
        latency_at_host=at_host,
        speedup_at_host=1 / at_host.ratio if at_host and at_host.ratio else None,
        proof=trial.proof,
        candidates=candidates,
        gates=gates,
        devices=devices,
        store={
            "original": target.job.original.place,
            "plain": target.plain.place,
            "compiled": (target.int8_form if target.int8_form and is_int8 else target.model).place,
            "data": target.job.data.entry.place,
        },
    )


def failed(target: str, backend: str, error: EdgekitError) -> TargetReport:
    """The report of a target that got no artifact."""
    return TargetReport(
        target=target,
        backend=backend,
        precision=None,
        exit_code=error.exit_code,
        passed=False,
        error=error.to_dict(),
    )


def all_passed(verdicts: Iterable[bool | None]) -> bool | None:
    """The verdict on several: False if one is, else None if one is, else True."""
    seen = set(verdicts)
    return False if False in seen else None if None in seen else True


def _device_report(target: TargetJob, trial: Trial, asked: Asked, outcome: Outcome[Showing]) -> DeviceReport:
    uri, name = asked.board.device, asked.board.name
    if outcome.result is None:
        assert outcome.error is not None
        return DeviceReport(uri, name, outcome.error.exit_code, passed=False, error=outcome.error.to_dict())
    showing, timed = outcome.result, outcome.result.times.artifact
    metrics, gates, exit_code = _judged(target, trial, showing, speaks=asked.speaks, emulated=asked.emulated)
    return DeviceReport(
        uri,
        name,
        exit_code,
        passed(gates, exit_code),
        kind=timed.kind,
        where=timed.where,
        runtime=timed.runtime,
        is_target=asked.speaks,
        metrics=metrics,
        agreement=showing.agreement,
        golden_sqnr=showing.golden_sqnr,
        latency=_latency(target, showing),
        peak_bytes=timed.peak_bytes,
        gates=gates,
    )


def _judged(
    target: TargetJob, trial: Trial, showing: Showing, *, speaks: bool, emulated: bool
) -> tuple[tuple[Metric, ...], tuple[Gate, ...], int]:
    """The metrics, the gates, and the exit code of what one device showed.

    Only the target's own clock and memory are held against gates; an emulated device proves the answers.
    """
    timed, latency, memory = showing.times.artifact, _latency(target, showing), target.target.memory_mib
    evidence = Evidence(metrics=showing.judgement.metrics, size_bytes=trial.artifact.size)
    if target.pruning:
        own = showing.times.dense_ratio  # None of an emulated device
        ratio = trial.times.dense_ratio if own is None else own
        evidence = replace(evidence, dense_ratio=ratio, asked_of_dense=target.job.recipe.shrink.speedup)
    if speaks:
        evidence = replace(
            evidence,
            # The float artifact is its own baseline.
            ratio=1.0 if timed.ratio is None else timed.ratio,
            p90_ms=latency.p90_ms if latency else None,
            memory_bytes=timed.peak_bytes,
            target_bytes=memory * 2**20 if memory else None,
            kind=timed.kind,
            invalid=timed.invalid,
        )
    elif emulated:
        evidence = replace(evidence, kind=EvidenceKind.EMULATED)
    gates, exit_code = judge(target.job.recipe.gates, evidence)
    return with_resolved(showing.judgement.metrics, gates), gates, exit_code


def _cost(target: TargetJob, what: str) -> int:
    """Of what was compiled; an unpruned one as the user knows it, before fusion."""
    return int((target.filled if target.shrunk else target.job.original).report[what])


def _pruned(target: TargetJob, trial: Trial, showing: Showing) -> PrunedReport | None:
    if target.pruning is None:
        return None
    dense = target.job.fused.report  # in the form that is compiled, as the pruned one
    return PrunedReport(
        macs=_cost(target, "macs") / dense["macs"],
        params=_cost(target, "params") / dense["params"],
        factorized=target.job.recipe.shrink.factorize,
        multiple=target.pruning.multiple,
        groups=target.pruning.groups,
        dense_ratio=showing.times.dense_ratio,
        dense_bytes=target.dense(trial.plan.default).size,
        speedup=target.job.recipe.shrink.speedup,
        predicted=target.pruning.predicted,
    )


def _thinned(target: TargetJob, showing: Showing) -> ThinnedReport | None:
    if target.thinned is None:
        return None
    found = target.thinned.report
    return ThinnedReport(found["sparsity"], tuple(found["layers"]), showing.times.filled_ratio)


def _repaired(target: TargetJob) -> RepairedReport | None:
    if target.repair == PLAIN and not target.repairs_tried:
        return None
    return RepairedReport(target.repair, target.repairs_tried)


def _latency(target: TargetJob, showing: Showing) -> Latency | None:
    times, timed = showing.times, showing.times.artifact
    if timed.timing is None:
        return None
    return Latency(
        kind=timed.kind,
        where=timed.where,
        runtime=timed.runtime,
        threads=timed.threads,
        batch=target.job.recipe.run.batch,
        ratio=timed.ratio,
        p50_ms=timed.timing.p50_ms,
        p90_ms=timed.timing.p90_ms,
        p99_ms=timed.timing.p99_ms,
        ratio_wall_min=timed.ratio_wall_min,
        invalid=timed.invalid,
        float_p50_ms=times.baseline.timing.p50_ms if times.baseline and times.baseline.timing else None,
        default_p50_ms=times.default.timing.p50_ms if times.default and times.default.timing else None,
    )
