"""The main job: from a recipe and targets to proven artifacts in an output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import Backend, load_backend
from edgekit.core import events
from edgekit.core.errors import EdgekitError, UsageError, from_system
from edgekit.core.recipe import Recipe
from edgekit.core.recipe_file import load_recipe
from edgekit.core.types import Precision
from edgekit.data.function import load_function
from edgekit.devices.answer import DeviceFacts
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL
from edgekit.devices.fleet import Board, Outcome, gather_boards, run_fleet
from edgekit.devices.opening import open_device
from edgekit.pipeline.boards import Asked, Boards
from edgekit.pipeline.choose import choose
from edgekit.pipeline.equalise import equalised
from edgekit.pipeline.findings import Showing, Trial
from edgekit.pipeline.folder import write_target
from edgekit.pipeline.job import Job
from edgekit.pipeline.lock import Lock
from edgekit.pipeline.output import OutputFolder
from edgekit.pipeline.plausible import check_baseline
from edgekit.pipeline.prune import pruned
from edgekit.pipeline.recover import Recovery
from edgekit.pipeline.repair import refuse_repairs, repaired
from edgekit.pipeline.stages import prepare_data
from edgekit.pipeline.store import default_store
from edgekit.pipeline.survey import survey
from edgekit.pipeline.targets import Target, is_here, load_target
from edgekit.pipeline.thin import thinned
from edgekit.pipeline.trial import TargetJob
from edgekit.pipeline.verdict import all_passed, failed, target_report
from edgekit.pipeline.zoo import NamedModel, find_model
from edgekit.report.build_report import BuildReport, TargetReport
from edgekit.report.gates import combine

__all__ = ["build"]

# The precisions that can take and give integers.
_INTEGER_ENDS = frozenset({Precision.INT8, Precision.MIXED})


@dataclass(frozen=True)
class _Output:
    """Where a build writes: the model's name, the folder, and the choices that it keeps."""

    name: str
    folder: OutputFolder
    lock: Lock


def build(
    model: str,
    targets: Sequence[str],
    *,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: str | Path | None = None,
    compress: str | None = None,
    out: str | Path | None = None,
) -> BuildReport:
    """Take a model to a proven artifact for each target.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        targets: names of targets, or paths of target files.
        flags: what overrides the recipe: section → key → value.
        recipe: an `edgekit.toml`; a model of the zoo brings its own.
        compress: "light", "balanced" or "extreme": a recipe that comes with edgekit, below that one.
        out: the output folder; `build/<model>` if None.

    Raises:
        EdgekitError: nothing could be built. What goes wrong for one target alone stands in its report.
    """
    named = find_model(model)
    parsed = load_recipe(Path(recipe) if recipe else named.recipe, flags or {}, compress=compress)
    _same_model(parsed, named)
    _want_data(parsed, model)
    _want_int8(parsed)
    refuse_repairs(parsed)
    _want_float_ends(parsed)
    if parsed.data.metric:
        load_function(parsed.data.metric, blame="your metric")
    wanted = [load_target(name) for name in dict.fromkeys(targets)]
    _each_once(wanted)
    jobs = [(target, load_backend(parsed.run.backend or target.backend)) for target in wanted]
    for _, backend in jobs:
        backend.tools()
    boards = Boards(gather_boards(parsed.run.devices, parsed.run.boards))
    folder = OutputFolder(Path(out) if out else Path("build", named.name))
    output = _Output(named.name, folder, Lock.load(folder.path))
    store = default_store()
    store.sweep()

    backends = {target.name: backend.name for target, backend in jobs}
    seen = survey(store, named.path, parsed.model, parsed.run.seed, backends)
    training = parsed.recover.trains
    data = prepare_data(
        store, seen.original, parsed.data, batch=parsed.run.batch, seed=parsed.run.seed, training=training
    )
    job = Job(store, parsed, seen.original, seen.fused, seen.fused, data)
    check_baseline(job)
    job = replace(job, fused=equalised(job, seen.fused))
    reports = [
        failed(target.name, backend.name, refusal)
        if (refusal := seen.refusal(target.name))
        else _build_target(job, target, backend, boards, output)
        for target, backend in jobs
    ]
    return BuildReport(
        schema_version=1,
        model=model,
        source={"format": seen.original.report["format"], "quantized": seen.original.quantized},
        out=str(folder.path),
        passed=all_passed(report.passed for report in reports),
        exit_code=combine(report.exit_code for report in reports),
        targets=tuple(reports),
    )


def _build_target(job: Job, target: Target, backend: Backend, boards: Boards, output: _Output) -> TargetReport:
    """The report of one target; its errors stay its own, so that the other targets finish."""
    try:
        asked = boards.of(target)
        built = TargetJob(job, target, backend, *_clock(target, asked))
        try:
            recovery = Recovery.of(built, output.lock)
            built = recovery.quantize(thinned(pruned(built, output.lock, recovery), recovery))
            recovery.remember(built, output.lock)
            built = repaired(built, output.lock)
            trial, candidates = choose(built, output.lock)
            _warn_of_float_ends(built, trial)
        finally:
            built.clock.close()
        output.lock.save(output.folder.path)
        here = built.show(trial)
        report = target_report(built, trial, here, _show_on_boards(built, trial, asked), candidates)
        output.folder.replace(target.name, lambda fresh: write_target(fresh, output.name, built, trial, report))
    except EdgekitError as error:
        return failed(target.name, backend.name, error)
    except OSError as error:
        return failed(target.name, backend.name, from_system(error))
    return report


def _clock(target: Target, asked: Sequence[Asked]) -> tuple[Device, DeviceFacts | None, bool]:
    """The device whose timings a choice goes by, what it is, and whether they speak for the target."""
    own = next((each for each in asked if each.speaks), None)
    return (open_device(own.board.device), own.facts, True) if own else (LOCAL, None, is_here(target))


def _show_on_boards(
    target: TargetJob, trial: Trial, asked: Sequence[Asked]
) -> tuple[tuple[Asked, Outcome[Showing]], ...]:
    """What the artifact shows on each board, all of them at work side by side."""
    answering = {each.board.device: each for each in asked if each.error is None}

    def work(board: Board, device: Device) -> Showing:
        facts = answering[board.device].facts
        assert facts is not None
        return target.show_on(trial, device, facts)

    found = iter(run_fleet([each.board for each in answering.values()], work))
    return tuple(
        (each, Outcome(each.board, None, each.error, 0.0, 0.0) if each.error else next(found)) for each in asked
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
    if data.none and recipe.recover.trains:
        raise UsageError(
            "recovery learns from data, and there is none (--no-data)",
            blame="the command line",
            remedy="Give some, labelled or not: --data FOLDER; or leave out --recover and --qat (or --compress).",
        )
    if not (data.data or data.train or data.none):
        raise UsageError(
            "a build needs data: it calibrates, chooses and judges on it",
            blame="the command line",
            remedy=f"Give some, or build unproven: edgekit build {model} --data FOLDER …, or --no-data",
        )


def _want_int8(recipe: Recipe) -> None:
    wanted = recipe.precision.precision
    if recipe.recover.qat and wanted not in {"auto", Precision.INT8, Precision.MIXED}:
        raise UsageError(
            f"--qat trains for int8, and the precision is to be {wanted}",
            blame="the command line",
            remedy="Give --precision int8, mixed or auto; or --recover, which trains in float.",
        )


def _want_float_ends(recipe: Recipe) -> None:
    if recipe.precision.io != "float32" and recipe.precision.precision not in {"auto", *_INTEGER_ENDS}:
        raise UsageError(
            f"--io {recipe.precision.io}: what is {recipe.precision.precision} takes and gives float32",
            blame="the command line",
            remedy="Leave --io out, or give --precision int8 or mixed.",
        )
    if recipe.precision.io != "float32" and recipe.model.states not in ({}, "none"):
        raise UsageError(
            f"--io {recipe.precision.io} would give a state one scale where it comes out and another where it goes in",
            blame="the command line",
            remedy="Leave --io out: a model with state takes and gives float32, and is int8 inside.",
        )


def _warn_of_float_ends(target: TargetJob, trial: Trial) -> None:
    """`auto` may come to what has no integers at its ends."""
    wanted = target.job.recipe.precision.io
    if wanted != "float32" and trial.precision not in _INTEGER_ENDS:
        events.warn(
            f"{target.target.name}: {trial.precision} is best here, and takes and gives float32, not {wanted};"
            " --precision int8 would keep to that"
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
