"""The main job: from a recipe and targets to proven artifacts in an output folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import Backend, load_backend
from edgekit.core.errors import EdgekitError, UsageError, from_system
from edgekit.core.recipe import Recipe, load_recipe
from edgekit.data.function import load_function
from edgekit.pipeline.choose import choose
from edgekit.pipeline.folder import write_target
from edgekit.pipeline.lock import Lock
from edgekit.pipeline.output import OutputFolder
from edgekit.pipeline.plausible import check_baseline
from edgekit.pipeline.stages import prepare_data
from edgekit.pipeline.store import default_store
from edgekit.pipeline.survey import survey
from edgekit.pipeline.targets import Target, is_here, load_target
from edgekit.pipeline.trial import Job, Judgement, TargetJob, Trial
from edgekit.pipeline.zoo import NamedModel, find_model
from edgekit.report.build_report import BuildReport, Latency, TargetReport
from edgekit.report.gates import Evidence, combine, judge, passed, with_resolved

__all__ = ["build"]


def build(
    model: str,
    targets: Sequence[str],
    *,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
) -> BuildReport:
    """Take a model to a proven artifact for each target.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        targets: names of targets, or paths of target files.
        flags: what overrides the recipe: section → key → value.
        recipe: an `edgekit.toml`; a model of the zoo brings its own.
        out: the output folder; `build/<model>` if None.

    Raises:
        EdgekitError: nothing could be built. What goes wrong for one target alone stands in its report.
    """
    named = find_model(model)
    parsed = load_recipe(Path(recipe) if recipe else named.recipe, flags or {})
    _same_model(parsed, named)
    _want_data(parsed, model)
    _want_float_states(parsed)
    if parsed.data.metric:
        load_function(parsed.data.metric, blame="your metric")
    wanted = [load_target(name) for name in dict.fromkeys(targets)]
    _each_once(wanted)
    jobs = [(target, load_backend(parsed.run.backend or target.backend)) for target in wanted]
    for _, backend in jobs:
        backend.tools()
    folder = OutputFolder(Path(out) if out else Path("build", named.name))
    lock = Lock.load(folder.path)
    store = default_store()
    store.sweep()

    backends = {target.name: backend.name for target, backend in jobs}
    seen = survey(store, named.path, parsed.model, parsed.run.seed, backends)
    data = prepare_data(store, seen.original, parsed.data, batch=parsed.run.batch, seed=parsed.run.seed)
    job = Job(store, parsed, seen.original, seen.fused, data)
    check_baseline(job)
    reports = [
        _failed(target, backend, refusal)
        if (refusal := seen.refusal(target.name))
        else _build_target(TargetJob(job, target, backend), named.name, folder, lock)
        for target, backend in jobs
    ]
    return BuildReport(
        schema_version=1,
        model=model,
        source={"format": seen.original.report["format"], "quantized": seen.original.quantized},
        out=str(folder.path),
        passed=_all(report.passed for report in reports),
        exit_code=combine(report.exit_code for report in reports),
        targets=tuple(reports),
    )


def _build_target(target: TargetJob, name: str, folder: OutputFolder, lock: Lock) -> TargetReport:
    """The report of one target; its errors stay its own, so that the other targets finish."""
    try:
        trial, candidates = choose(target, lock)
        lock.save(folder.path)
        report = _report(target, trial, target.report(trial), candidates)
        folder.replace(target.target.name, lambda fresh: write_target(fresh, name, target, trial, report))
    except EdgekitError as error:
        return _failed(target.target, target.backend, error)
    except OSError as error:
        return _failed(target.target, target.backend, from_system(error))
    return report


def _failed(target: Target, backend: Backend, error: EdgekitError) -> TargetReport:
    return TargetReport(
        target=target.name,
        backend=backend.name,
        precision=None,
        exit_code=error.exit_code,
        passed=False,
        error=error.to_dict(),
    )


def _report(
    target: TargetJob, trial: Trial, judgement: Judgement, candidates: tuple[Mapping[str, Any], ...]
) -> TargetReport:
    here = is_here(target.target)
    latency = _latency(trial, target.job.recipe.run.batch)
    timed = trial.timed
    evidence = Evidence(metrics=judgement.metrics, size_bytes=trial.artifact.size)
    if here:
        evidence = replace(
            evidence,
            # The float artifact is its own baseline.
            ratio=1.0 if timed.ratio is None else timed.ratio,
            p90_ms=latency.p90_ms if latency else None,
            memory_bytes=timed.peak_bytes,
            kind=timed.kind,
        )
    gates, exit_code = judge(target.job.recipe.gates, evidence)
    return TargetReport(
        target=target.target.name,
        backend=target.backend.name,
        precision=trial.precision,
        exit_code=exit_code,
        passed=passed(gates, exit_code),
        files=tuple(file.name for file in trial.artifact.files),
        bytes=trial.artifact.size,
        float_bytes=target.float_artifact.size,
        params=target.job.original.report["params"],
        macs=target.job.original.report["macs"],
        peak_bytes=timed.peak_bytes if here else None,
        metrics=with_resolved(judgement.metrics, gates),
        confusion=judgement.confusion,
        latency=latency if here else None,
        latency_at_host=None if here else latency,
        speedup_at_host=None if here or not timed.ratio else 1 / timed.ratio,
        proof=trial.proof,
        candidates=candidates,
        gates=gates,
    )


def _latency(trial: Trial, batch: int) -> Latency | None:
    timed = trial.timed
    if timed.timing is None:
        return None
    return Latency(
        kind=timed.kind,
        where=timed.where,
        runtime=timed.runtime,
        threads=timed.threads,
        batch=batch,
        ratio=timed.ratio,
        p50_ms=timed.timing.p50_ms,
        p90_ms=timed.timing.p90_ms,
        p99_ms=timed.timing.p99_ms,
        ratio_wall_min=timed.ratio_wall_min,
        float_p50_ms=trial.baseline.timing.p50_ms if trial.baseline and trial.baseline.timing else None,
        default_p50_ms=trial.default.timing.p50_ms if trial.default and trial.default.timing else None,
    )


def _want_data(recipe: Recipe, model: str) -> None:
    data = recipe.data
    if data.eval and not (data.data or data.train):
        raise UsageError(
            "--eval-data only judges; calibration and selection need other data",
            blame="the command line",
            remedy="Add --train-data D, or give --data D alone: it is split in three.",
        )
    if data.train and not (data.data or data.eval):
        raise UsageError(
            "--train-data alone leaves nothing for the report to judge on",
            blame="the command line",
            remedy="Add --eval-data D, or give --data D alone: it is split in three.",
        )
    if not (data.data or data.train or data.none):
        raise UsageError(
            "a build needs data: it calibrates, chooses and judges on it",
            blame="the command line",
            remedy=f"Give some, or build unproven: edgekit build {model} --data FOLDER …, or --no-data",
        )


def _want_float_states(recipe: Recipe) -> None:
    if recipe.precision.io != "float32" and recipe.model.states not in ({}, "none"):
        raise UsageError(
            f"--io {recipe.precision.io} would give a state one scale where it comes out and another where it goes in",
            blame="the command line",
            remedy="Leave --io out: a model with state takes and gives float32, and is int8 inside.",
        )


def _same_model(recipe: Recipe, named: NamedModel) -> None:
    """A recipe of another model is a mistake, not an offer."""
    path = recipe.model.path
    if path is not None and path.resolve() != named.path.resolve():
        raise UsageError(
            f"the recipe is for {path}, and the model to build is {named.path}",
            blame="the command line",
            remedy="Give the model of the recipe, or a recipe whose [model] names no path.",
        )


def _each_once(targets: Sequence[Target]) -> None:
    """Each target has a folder of its own, under its name."""
    names = [target.name for target in targets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"two of the targets are called {twice}",
            blame="the command line",
            remedy="Name each once; a target file of your own is called after its file name.",
        )


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False if one is, else None if one is, else True."""
    seen = set(verdicts)
    return False if False in seen else None if None in seen else True
