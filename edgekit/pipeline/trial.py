"""A trial: the model compiled in one precision, run beside its float baseline, and held to what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from edgekit.backends.base import Backend
from edgekit.core.errors import BrokenPromiseError
from edgekit.core.types import (
    Artifact,
    EvidenceKind,
    Measurement,
    Metric,
    Options,
    Precision,
    PrecisionProof,
    QuantPlan,
)
from edgekit.data.metrics import confusions, evaluate
from edgekit.devices.answer import DeviceFacts
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL
from edgekit.pipeline.job import Job, whole
from edgekit.pipeline.measure import MIN_GOLDEN_SQNR, Arrays, Run, echoed, run_artifact, worst_sqnr
from edgekit.pipeline.stages import compile_plan
from edgekit.pipeline.targets import Target

__all__ = ["GOLDEN_TOLERANCE", "Judgement", "Showing", "TargetJob", "Trial"]

GOLDEN_TOLERANCE = 1e-4
# An emulated CPU takes some fifty times as long; the interval of the drop says what these can tell.
_EMULATED_SAMPLES = 1000


@dataclass(frozen=True)
class Trial:
    """One precision, compiled and run.

    Attributes:
        timed: the measurement whose latency and ratio count.
        baseline, default: the float artifact in the same run; and the same left to the runtime's own choices.
        selection: the metrics that a choice may look at; empty without data.
    """

    precision: Precision
    artifact: Artifact
    proof: PrecisionProof
    timed: Measurement
    baseline: Measurement | None
    default: Measurement | None
    golden: Arrays
    selection: tuple[Metric, ...]


@dataclass(frozen=True)
class Judgement:
    """The quality of an artifact on a split.

    Attributes:
        metrics: the gated one first.
        confusion: for each output with class labels, rows of counts: truth by predicted class.
    """

    metrics: tuple[Metric, ...]
    confusion: Mapping[str, list[list[int]]]


@dataclass(frozen=True)
class Showing:
    """What the chosen artifact showed on one device.

    Attributes:
        judgement: on the report split, or an excerpt of it, from this device's answers.
        timed: its measurement there; beside the float artifact where the device's clock counts.
        baseline, default: as of `Trial`, there.
        agreement: its answers held against those of this host, on the same samples; empty on the host itself.
        golden_sqnr: the same for the golden samples, in dB, of the worst output; None on the host itself.
    """

    judgement: Judgement
    timed: Measurement
    baseline: Measurement | None
    default: Measurement | None
    agreement: tuple[Metric, ...] = ()
    golden_sqnr: float | None = None


@dataclass(frozen=True)
class TargetJob:
    """One target of a build.

    Attributes:
        clock: the device whose timings a choice goes by; `clock_facts` is what it said of itself, None of this host.
        speaks: whether that clock speaks for the target: it is the target's own.
    """

    job: Job
    target: Target
    backend: Backend
    clock: Device = LOCAL
    clock_facts: DeviceFacts | None = None
    speaks: bool = False

    @cached_property
    def float_artifact(self) -> Artifact:
        """The float model on this back end: the baseline of every ratio."""
        return self._compile(Precision.FP32, None, "float32")

    def attempt(self, precision: Precision) -> Trial:
        """Compile `precision`, run it on the selection split beside the float baseline, and check what was promised.

        Raises:
            BrokenPromiseError: it ran in another precision, or the float artifact answers otherwise than the Model.
        """
        job, io = self.job, self.job.recipe.precision.io
        baseline = self.float_artifact
        plain = precision is Precision.FP32 and io == "float32"
        artifact = baseline if plain else self._compile(precision, baseline, io)
        run = run_artifact(
            job.store,
            self.backend,
            artifact,
            job.fused,
            title=f"run {precision} · {self.backend.name}{_on(self.clock)}",
            golden=job.golden,
            samples=job.samples("selection") if "selection" in job.data.splits else None,
            against=self._against(artifact),
            threads=job.recipe.run.threads,
            device=self.clock,
            facts=self.clock_facts,
        )
        proof = self._prove(artifact, run.measurements[0])
        self._check_float(run, 0 if plain else 1)
        timed, beside, default = self._timed(artifact, run)
        return Trial(
            precision=precision,
            artifact=artifact,
            proof=proof,
            timed=timed,
            baseline=beside,
            default=default,
            golden=run.golden[0],
            selection=self._judge(run, "selection").metrics,
        )

    def show(self, trial: Trial) -> Showing:
        """The quality of the chosen trial on the report split, which no choice has seen, from this host's answers."""
        judgement = Judgement((), {})
        if "report" in self.job.data.splits:
            run = self._run(trial, LOCAL, "report")
            judgement = self._judge(run, "report")
        return Showing(judgement, trial.timed, trial.baseline, trial.default)

    def show_on(self, trial: Trial, device: Device, facts: DeviceFacts) -> Showing:
        """The same on a device, from its answers; and how these agree with the ones of this host.

        Args:
            trial: the chosen one.
            device: another one than this host.
            facts: what it said of itself; an emulated one gets an excerpt of the split.

        Raises:
            BrokenPromiseError: it ran in another precision there, or answers the golden samples otherwise than here.
        """
        job, split = self.job, "report"
        emulated = facts.kind is EvidenceKind.EMULATED
        if split in job.data.splits and emulated:
            split = job.excerpt(split, _EMULATED_SAMPLES)
        clocked = device.uri == self.clock.uri  # the choice went by its timings already
        there = self._run(trial, device, split, facts=facts, timing=not (emulated or clocked))
        here = self._run(trial, LOCAL, split)
        self._prove(trial.artifact, there.measurements[0])
        measured = (trial.timed, trial.baseline, trial.default)
        timed, baseline, default = measured if clocked else self._timed(trial.artifact, there)
        return Showing(
            judgement=self._judge(there, split),
            timed=timed,
            baseline=baseline,
            default=default,
            agreement=self._agreement(here, there, split),
            golden_sqnr=_check_golden(here, there, device),
        )

    def _run(
        self, trial: Trial, device: Device, split: str, *, facts: DeviceFacts | None = None, timing: bool = False
    ) -> Run:
        """The chosen artifact's answers to a split, if there is one; timed beside the float artifact if asked."""
        job = self.job
        return run_artifact(
            job.store,
            self.backend,
            trial.artifact,
            job.fused,
            title=f"judge {trial.precision} · {self.backend.name}{_on(device)}",
            golden=job.golden,
            samples=job.samples(split) if whole(split) in job.data.splits else None,
            against=self._against(trial.artifact) if timing else [],
            threads=job.recipe.run.threads,
            timing=timing,
            device=device,
            facts=facts,
        )

    def _against(self, artifact: Artifact) -> list[tuple[Artifact, Options]]:
        """What an artifact is timed against: the float one, and that as the runtime would run it by itself."""
        baseline = self.float_artifact
        against = [] if artifact is baseline else [(baseline, baseline.runtime_options)]
        return [*against, (baseline, ())] if baseline.runtime_options else against

    def _timed(self, artifact: Artifact, run: Run) -> tuple[Measurement, Measurement | None, Measurement | None]:
        """Of a run: the artifact's measurement, the float one's, and the one of float as the runtime would run it."""
        timed, others = run.measurements[0], run.measurements[1:]
        baseline = others[0] if others else None
        if artifact is self.float_artifact:
            # It is its own baseline; the ratio at hand is to the runtime's default, which may be bf16.
            timed = baseline = replace(timed, ratio=None, ratio_wall_min=None)
        return timed, baseline, others[-1] if others and self.float_artifact.runtime_options else None

    def _agreement(self, here: Run, there: Run, split: str) -> tuple[Metric, ...]:
        """The device's answers held against this host's."""
        if here.answers is None or there.answers is None:
            return ()
        job, measured = self.job, there.measurements[0]
        return tuple(
            evaluate(
                job.judged(here.answers, split),
                job.judged(there.answers, split),
                None,
                job.original.judged_outputs,
                split=whole(split),
                where=measured.where,
                kind=measured.kind,
                activations=job.original.activations,
                steps=job.original.steps,
                seed=job.recipe.run.seed,
            )
        )

    def _judge(self, run: Run, split: str) -> Judgement:
        """The quality of a run on a split; empty where the run had no samples."""
        if run.answers is None:
            return Judgement((), {})
        measured, reference, targets = run.measurements[0], self.job.reference(split), self.job.targets(split)
        answers = self.job.judged(run.answers, split)
        samples = self.job.samples(split).path
        metrics = tuple(
            evaluate(
                reference,
                answers,
                targets,
                self.job.original.judged_outputs,
                split=whole(split),
                where=measured.where,
                kind=measured.kind,
                custom=self.job.recipe.data.metric,
                activations=self.job.original.activations,
                echoed=None if targets else echoed(self.job.original, samples),
                steps=self.job.original.steps,
                seed=self.job.recipe.run.seed,
            )
        )
        return Judgement(metrics, confusions(answers, reference, targets or {}))

    def _compile(self, precision: Precision, baseline: Artifact | None, io: str) -> Artifact:
        job = self.job
        return compile_plan(
            job.store,
            self.backend,
            job.fused,
            QuantPlan(precision),
            baseline=baseline,
            calibration=job.calibration if precision is Precision.INT8 else None,
            labels=job.data.class_names,
            batch=job.recipe.run.batch,
            io=io,
            preprocess=job.recipe.data.preprocess,
            options=self._options,
            seed=job.recipe.run.seed,
        )

    @property
    def _options(self) -> Mapping[str, str]:
        return {key: str(value) for key, value in self.target.options.items()}

    def _prove(self, artifact: Artifact, measured: Measurement) -> PrecisionProof:
        proof = self.backend.prove(artifact.plan, measured.account)
        if proof.violations:
            raise BrokenPromiseError(
                f"{artifact.path.name} should be {proof.promised} and ran otherwise: {'; '.join(proof.violations)}",
                blame=f"the back end {self.backend.name} on this model",
                remedy="Build it in a precision that the runtime keeps: --precision fp32, or --precision auto",
            )
        return proof

    def _check_float(self, run: Run, index: int) -> None:
        from edgekit.ir.run import max_relative

        difference = max_relative(run.golden[index], self.job.float_golden)
        if not difference <= GOLDEN_TOLERANCE:
            raise BrokenPromiseError(
                f"the float artifact of {self.backend.name} answers the golden samples otherwise than the model:"
                f" relative difference {difference:.2g}, allowed {GOLDEN_TOLERANCE:g}",
                blame="edgekit",
                remedy="Report this with the model's architecture; --backend names another back end.",
            )


def _on(device: Device) -> str:
    """What a title says of where."""
    return "" if device is LOCAL else f" · on {device.uri}"


def _check_golden(here: Run, there: Run, device: Device) -> float:
    """How well the device's golden answers agree with this host's, in dB, of the worst output."""
    found = worst_sqnr(here.golden[0], there.golden[0])
    if not found >= MIN_GOLDEN_SQNR:
        raise BrokenPromiseError(
            f"{device.uri} answers the golden samples otherwise than this host: {found:.1f} dB,"
            f" at least {MIN_GOLDEN_SQNR:.0f} dB are due",
            blame=f"{there.measurements[0].runtime} on that device",
            remedy="Try another version of the runtime there, or --precision fp32, and report which CPU it is.",
        )
    return found
