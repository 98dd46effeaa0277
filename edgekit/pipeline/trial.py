"""A trial: the model compiled in one precision, run beside its float baseline, and held to what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import Backend
from edgekit.core.errors import BrokenPromiseError
from edgekit.core.recipe import Recipe
from edgekit.core.types import Artifact, Measurement, Metric, Precision, PrecisionProof, QuantPlan
from edgekit.data import unroll
from edgekit.data.metrics import confusions, evaluate
from edgekit.pipeline.measure import Arrays, Run, Samples, echoed, load_arrays, run_artifact, run_reference
from edgekit.pipeline.stages import Data, SourceModel, compile_plan
from edgekit.pipeline.store import Store
from edgekit.pipeline.targets import Target

__all__ = ["GOLDEN_TOLERANCE", "Job", "Judgement", "TargetJob", "Trial"]

GOLDEN_TOLERANCE = 1e-4
_GOLDEN_SAMPLES = 8
_GOLDEN_SEQUENCES, _GOLDEN_STEPS = 4, 8
_CALIBRATION_STEPS = 1024


@dataclass(frozen=True)
class Job:
    """What all targets of a build share.

    Attributes:
        original: the imported model, which every accuracy is held against.
        fused: what is compiled.
    """

    store: Store
    recipe: Recipe
    original: SourceModel
    fused: SourceModel
    data: Data

    def samples(self, split: str) -> Samples:
        """The inputs of a split."""
        return Samples(self.data.samples(split), f"{self.data.entry.key}/{split}")

    @cached_property
    def golden(self) -> Samples:
        """A few samples that every artifact must answer rightly, now and on the device; short sequences of a stream."""
        states = self.original.states
        most = _GOLDEN_SEQUENCES if states else _GOLDEN_SAMPLES
        split = "report" if "report" in self.data.splits else "calibration"

        def work(folder: Path) -> Any:
            samples = load_arrays(self.data.samples(split))
            np.savez(folder / "golden.npz", **unroll.excerpt(samples, states, most=most, steps=_GOLDEN_STEPS))  # type: ignore[arg-type]

        inputs = {"data": self.data.entry.key, "split": split, "n": [most, _GOLDEN_STEPS]}
        entry = self.store.make("golden", "", inputs, work, quiet=True)
        return Samples(entry.file("golden.npz"), entry.key)

    @cached_property
    def calibration(self) -> Path:
        """Single samples to calibrate on; of sequences, steps with the states that the original model came to."""
        samples, states = self.data.samples("calibration"), self.original.states
        if not states:
            return samples

        def work(folder: Path) -> Any:
            steps = unroll.single_steps(
                load_arrays(samples),
                load_arrays(run_reference(self.store, self.original, self.samples("calibration"), title)),
                states,
                most=_CALIBRATION_STEPS,
                seed=self.recipe.run.seed,
            )
            np.savez(folder / "calibration.npz", **steps)  # type: ignore[arg-type]

        title = "run the original model · calibration"
        inputs = {
            "model": self.original.digest,
            "states": states,
            "data": self.data.entry.key,
            "most": _CALIBRATION_STEPS,
            "seed": self.recipe.run.seed,
        }
        return self.store.make("calibration", "", inputs, work, quiet=True).file("calibration.npz")

    @cached_property
    def golden_reference(self) -> Arrays:
        """The original model's answers to the golden samples."""
        title = "run the original model · golden"
        return load_arrays(run_reference(self.store, self.original, self.golden, title))

    @cached_property
    def float_golden(self) -> Arrays:
        """What a float artifact must answer to them: of a quantized source, the float network does not round."""
        if self.original.quantized is None:
            return self.golden_reference
        return load_arrays(run_reference(self.store, self.fused, self.golden, "run the float model · golden"))

    def reference(self, split: str) -> Arrays:
        """The original model's answers on a split, as metrics take them."""
        if split not in self._references:
            title = f"run the original model · {split}"
            self._references[split] = run_reference(self.store, self.original, self.samples(split), title)
        return self.judged(load_arrays(self._references[split]), split)

    def judged(self, answers: Arrays, split: str) -> Arrays:
        """Answers on a split, as metrics take them: one row a target."""
        return unroll.judged(answers, self.targets(split), self.original.states)

    @cached_property
    def _references(self) -> dict[str, Path]:
        """The files that hold them: a detector's answers are too large to keep."""
        return {}

    def targets(self, split: str) -> Arrays | None:
        """The truth of a split, by output name; None without labels."""
        path = self.data.targets(split)
        return load_arrays(path) if path else None


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
class TargetJob:
    """One target of a build."""

    job: Job
    target: Target
    backend: Backend

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
        against = [] if plain else [(baseline, baseline.runtime_options)]
        if baseline.runtime_options:
            against.append((baseline, ()))
        run = run_artifact(
            job.store,
            self.backend,
            artifact,
            job.fused,
            title=f"run {precision} · {self.backend.name}",
            golden=job.golden,
            samples=job.samples("selection") if "selection" in job.data.splits else None,
            against=against,
            threads=job.recipe.run.threads,
        )
        proof = self._prove(artifact, run.measurements[0])
        self._check_float(run, 0 if plain else 1)
        timed, others = run.measurements[0], run.measurements[1:]
        if plain:
            # It is its own baseline; the ratio at hand is to the runtime's default, which may be bf16.
            timed = replace(timed, ratio=None, ratio_wall_min=None)
        return Trial(
            precision=precision,
            artifact=artifact,
            proof=proof,
            timed=timed,
            baseline=timed if plain else others[0],
            default=others[-1] if baseline.runtime_options else None,
            golden=run.golden[0],
            selection=self._judge(run, "selection").metrics,
        )

    def report(self, trial: Trial) -> Judgement:
        """The quality of the chosen trial on the report split, which no choice has seen."""
        job = self.job
        if "report" not in job.data.splits:
            return Judgement((), {})
        run = run_artifact(
            job.store,
            self.backend,
            trial.artifact,
            job.fused,
            title=f"judge {trial.precision} · {self.backend.name}",
            golden=job.golden,
            samples=job.samples("report"),
            threads=job.recipe.run.threads,
            timing=False,
        )
        return self._judge(run, "report")

    def _judge(self, run: Run, split: str) -> Judgement:
        """The quality of a run on a split; empty where the run had no samples."""
        if run.answers is None:
            return Judgement((), {})
        measured, reference, targets = run.measurements[0], self.job.reference(split), self.job.targets(split)
        answers = self.job.judged(run.answers, split)
        metrics = tuple(
            evaluate(
                reference,
                answers,
                targets,
                self.job.original.judged_outputs,
                split=split,
                where=measured.where,
                kind=measured.kind,
                custom=self.job.recipe.data.metric,
                activations=self.job.original.activations,
                echoed=None if targets else echoed(self.job.original, self.job.data.samples(split)),
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
