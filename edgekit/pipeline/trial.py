"""A trial: the model compiled in one precision, run beside its float baseline, and held to what was promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from edgekit.backends.base import Backend, IntegerBackend
from edgekit.core.errors import BrokenPromiseError
from edgekit.core.evidence import EvidenceKind, Measurement, Metric, PrecisionProof
from edgekit.core.repair import PLAIN, Repair
from edgekit.core.types import Artifact, Options, Precision, QuantPlan
from edgekit.devices.answer import DeviceFacts
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL
from edgekit.passes.recover.settings import LearningCurve
from edgekit.pipeline.equalise import equalised
from edgekit.pipeline.findings import Judgement, Showing, Times, Trial
from edgekit.pipeline.job import Job, whole
from edgekit.pipeline.judge import agreement, judge, same_golden
from edgekit.pipeline.lock import PruningChoice
from edgekit.pipeline.measure import Arrays, Run, run_artifact
from edgekit.pipeline.stages import SourceModel, compile_plan, fuse, repair_for
from edgekit.pipeline.targets import Target

__all__ = ["GOLDEN_TOLERANCE", "TargetJob"]

GOLDEN_TOLERANCE = 1e-4
_FLOAT = QuantPlan(Precision.FP32)
# An emulated CPU takes some fifty times as long; the interval of the drop says what these can tell.
_EMULATED_SAMPLES = 1000


@dataclass(frozen=True)
class TargetJob:
    """One target of a build.

    Attributes:
        clock: the device whose timings a choice goes by; `clock_facts` is what it said of itself, None of this host.
        speaks: whether that clock speaks for the target: it is the target's own.
        parent: what smaller networks are made from and learn from: the original after training; None for the original
            itself.
        shrunk: the imported model after pruning and recovery; `pruning` is how it was pruned, if it was.
        thinned: what is compiled for this target: a fused model whose weights are sparse or clustered.
        int8_form: what int8 is compiled from, where it was trained in int8.
        curves: of each training that the model went through.
        repair: what is done to it before it is made int8.
        repairs_tried: the table that the repair was chosen from; empty where nothing was weighed.
    """

    job: Job
    target: Target
    backend: Backend
    clock: Device = LOCAL
    clock_facts: DeviceFacts | None = None
    speaks: bool = False
    parent: SourceModel | None = None
    shrunk: SourceModel | None = None
    pruning: PruningChoice | None = None
    thinned: SourceModel | None = None
    int8_form: SourceModel | None = None
    curves: tuple[LearningCurve, ...] = ()
    repair: Repair = PLAIN
    repairs_tried: tuple[Mapping[str, Any], ...] = ()

    @property
    def teacher(self) -> SourceModel:
        """What smaller networks are made from and learn from."""
        return self.parent or self.job.original

    @property
    def model(self) -> SourceModel:
        """What is compiled."""
        return self.thinned or self.filled

    @cached_property
    def filled(self) -> SourceModel:
        """What is compiled unless its weights are thinned out."""
        return self.job.fused if self.shrunk is None else equalised(self.job, self.plain)

    @cached_property
    def plain(self) -> SourceModel:
        """What is compiled as it came: before anything was done for int8's sake, and with all its weights."""
        return self.job.plain if self.shrunk is None else fuse(self.job.store, self.shrunk, self.job.recipe.run.seed)

    @property
    def on_clock(self) -> str:
        """What a title says of the clock."""
        return _on(self.clock)

    @cached_property
    def float_artifact(self) -> Artifact:
        """The original model in float on this back end: the baseline of every ratio."""
        return self._compile(self.job.fused, _FLOAT, None, "float32")

    def dense(self, precision: Precision) -> Artifact:
        """The original model in a precision, all of it: what pruning is held against."""
        if precision is Precision.FP32:
            return self.float_artifact
        return self._compile(self.job.fused, QuantPlan(precision), self.float_artifact, self.job.recipe.precision.io)

    @cached_property
    def _own_float(self) -> Artifact:
        """What is compiled, in float: what any other precision is made from.

        Raises:
            BrokenPromiseError: it answers otherwise than the Model.
        """
        return self.float_artifact if self.model is self.job.fused else self._float_of(self.model)

    def _float_of(self, model: SourceModel) -> Artifact:
        artifact = self._compile(model, _FLOAT, None, "float32")
        self._check_float(self._golden_run(artifact).golden[0], model)
        return artifact

    def _repaired(self, plan: QuantPlan) -> SourceModel:
        """What is compiled, in the int8 form of the back end; layers that the plan lifts are as they were."""
        assert isinstance(self.backend, IntegerBackend)
        job, integers = self.job, self.backend.integers(saturates=self.target.saturates)
        seed = job.recipe.run.seed
        return repair_for(job.store, self.model, self.repair, integers, plan, samples=job.calibration, seed=seed)

    def artifact(self, plan: QuantPlan) -> Artifact:
        """What is compiled, in the precisions of a plan.

        Raises:
            BrokenPromiseError: the float artifact of a smaller network answers otherwise than the Model.
        """
        io = self.job.recipe.precision.io
        if self.int8_form and plan.default is Precision.INT8:
            return self._compile(self.int8_form, plan, self._float_of(self.int8_form), io)
        if plan.default is Precision.INT8 and self.repair != PLAIN:
            model = self._repaired(plan)
            return self._compile(model, plan, self._compile(model, _FLOAT, None, "float32"), io)
        plain = plan == _FLOAT and io == "float32"
        return self._own_float if plain else self._compile(self.model, plan, self._own_float, io)

    def attempt(self, plan: QuantPlan) -> Trial:
        """Compile a plan, run it on the selection split beside the float baseline, and check what was promised.

        Raises:
            BrokenPromiseError: it ran in another precision, or the float artifact answers otherwise than the Model.
        """
        artifact, against, run = self._first_run(plan)
        proof = self._prove(artifact, run.measurements[0])
        answers = dict(zip(against, run.golden[1:], strict=True))
        self._check_float(answers.get("float", run.golden[0]), self.job.fused)
        return Trial(
            plan=plan,
            artifact=artifact,
            proof=proof,
            golden=run.golden[0],
            selection=judge(self.job, run, "selection").metrics,
            times=self._times(artifact, against, run),
        )

    def glance(self, plan: QuantPlan, other: Trial | None = None) -> tuple[Metric, ...]:
        """The metrics of a plan on the selection split, without a look at the clock.

        Args:
            plan: what to compile.
            other: whose answers count as the original's, if not the original's own do.

        Raises:
            BrokenPromiseError: it ran in another precision.
        """
        artifact = self.artifact(plan)
        run = self._run(plan, artifact, LOCAL, "selection", doing="try")
        self._prove(artifact, run.measurements[0])
        return judge(self.job, run, "selection", self._answers(other) if other else None).metrics

    def held_against(self, trial: Trial, other: Trial) -> tuple[Metric, ...]:
        """What a trial gives on the selection split, where another one's answers count as the original's."""
        return judge(self.job, self._first_run(trial.plan)[2], "selection", self._answers(other)).metrics

    def _answers(self, trial: Trial) -> Arrays | None:
        """What a trial answers on the selection split, as metrics take it."""
        answers = self._first_run(trial.plan)[2].answers
        return None if answers is None else self.job.judged(answers, "selection")

    def _first_run(self, plan: QuantPlan) -> tuple[Artifact, dict[str, tuple[Artifact, Options]], Run]:
        """An artifact, what it is timed against, and what it answers on the selection split meanwhile."""
        artifact = self.artifact(plan)
        against = self._against(artifact)
        run = self._run(
            plan, artifact, self.clock, "selection", doing="run", facts=self.clock_facts, against=against, timing=True
        )
        return artifact, against, run

    def show(self, trial: Trial) -> Showing:
        """The quality of the chosen trial on the report split, which no choice has seen, from this host's answers."""
        judgement = Judgement((), {})
        if "report" in self.job.data.splits:
            run = self._run(trial.plan, trial.artifact, LOCAL, "report")
            judgement = judge(self.job, run, "report")
        return Showing(judgement, trial.times)

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
        against = {} if emulated or clocked else self._against(trial.artifact)
        plan, artifact = trial.plan, trial.artifact
        there = self._run(plan, artifact, device, split, facts=facts, against=against, timing=bool(against))
        here = self._run(plan, artifact, LOCAL, split)
        self._prove(trial.artifact, there.measurements[0])
        return Showing(
            judgement=judge(job, there, split),
            times=trial.times if clocked else self._times(trial.artifact, against, there),
            agreement=agreement(job, here, there, split),
            golden_sqnr=same_golden(here, there, device),
        )

    def _run(
        self,
        plan: QuantPlan,
        artifact: Artifact,
        device: Device,
        split: str,
        *,
        doing: str = "judge",
        facts: DeviceFacts | None = None,
        against: Mapping[str, tuple[Artifact, Options]] | None = None,
        timing: bool = False,
    ) -> Run:
        """An artifact's answers to a split, if there is one; timed beside what `_against` says, if that is wanted."""
        job = self.job
        return run_artifact(
            job.store,
            self.backend,
            artifact,
            self.model,
            title=f"{doing} {plan.precision} · {self.backend.name}{_on(device)}",
            golden=job.golden,
            samples=job.samples(split) if whole(split) in job.data.splits else None,
            against=list((against or {}).values()),
            threads=job.recipe.run.threads,
            timing=timing,
            device=device,
            facts=facts,
        )

    def _golden_run(self, artifact: Artifact) -> Run:
        job = self.job
        title = f"check the smaller model · {self.backend.name}"
        return run_artifact(job.store, self.backend, artifact, self.model, title=title, golden=job.golden, timing=False)

    def _against(self, artifact: Artifact) -> dict[str, tuple[Artifact, Options]]:
        """What an artifact is timed against, the float one first.

        "float" is the original model; "default" is that as the runtime would run it by itself. Of a smaller one,
        "dense" is the original in the artifact's precision; and "filled", of one that was pruned first, the pruned
        network before its weights were thinned out. Training alone changes no time.
        """
        baseline, precision = self.float_artifact, artifact.plan.default
        against: dict[str, tuple[Artifact, Options]] = {}
        if artifact is not baseline:
            against["float"] = baseline, baseline.runtime_options
        if baseline.runtime_options:
            against["default"] = baseline, ()
        if self._is_smaller and precision is not Precision.FP32:
            dense = self.dense(precision)
            against["dense"] = dense, dense.runtime_options
        if self.pruning and self.thinned:
            filled = replace(self, thinned=None, int8_form=None).artifact(QuantPlan(precision))
            against["filled"] = filled, filled.runtime_options
        return against

    def _times(self, artifact: Artifact, against: Iterable[str], run: Run) -> Times:
        """What a run beside those of `_against` says."""
        timed, others = run.measurements[0], dict(zip(against, run.measurements[1:], strict=True))
        if artifact is self.float_artifact:
            # It is its own baseline; the ratio at hand is to the runtime's default, which may be bf16.
            timed = others["float"] = replace(timed, ratio=None, ratio_wall_min=None)
        dense = others.get("dense") or others.get("float")
        ratio = dense.first_ratio if dense and self._is_smaller else None
        filled = others["filled"].first_ratio if "filled" in others else ratio
        return Times(timed, others.get("float"), others.get("default"), ratio, filled if self.thinned else None)

    @property
    def _is_smaller(self) -> bool:
        return bool(self.pruning or self.thinned)

    def _compile(self, model: SourceModel, plan: QuantPlan, baseline: Artifact | None, io: str) -> Artifact:
        job = self.job
        return compile_plan(
            job.store,
            self.backend,
            model,
            plan,
            baseline=baseline,
            calibration=job.calibration if plan.default is Precision.INT8 else None,
            labels=job.data.class_names,
            batch=job.recipe.run.batch,
            io=io,
            preprocess=job.recipe.data.preprocess,
            options=self.options,
            saturates=self.target.saturates,
            seed=job.recipe.run.seed,
        )

    @property
    def options(self) -> Mapping[str, str]:
        """What the target file gives the back end."""
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

    def _check_float(self, answers: Arrays, model: SourceModel) -> None:
        from edgekit.ir.run import max_relative

        difference = max_relative(answers, self.job.float_golden(model))
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
