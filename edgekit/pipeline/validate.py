"""What `edgekit validate` answers: a folder's files, golden answers and accuracy, as they are now on a device."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import Backend, load_backend
from edgekit.core.errors import BrokenPromiseError, InvalidInputError
from edgekit.core.evidence import Gate, Measurement, Metric, PrecisionProof
from edgekit.core.plain import from_json
from edgekit.core.recipe import GateSection, Recipe
from edgekit.core.scratch import scratch
from edgekit.core.types import Artifact, States, TensorSpec
from edgekit.data import unroll
from edgekit.data.metrics import evaluate
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL
from edgekit.devices.opening import using
from edgekit.pipeline.folder import GOLDEN_NAME
from edgekit.pipeline.measure import (
    MIN_GOLDEN_SQNR,
    Arrays,
    Run,
    Samples,
    echoed,
    load_arrays,
    rearranged,
    run_artifact,
    run_reference,
    worst_sqnr,
)
from edgekit.pipeline.output import artifact_folder, read_manifest, reading_manifest, stored_artifact
from edgekit.pipeline.stages import Data, SourceModel, import_source, prepare_data
from edgekit.pipeline.store import Store, default_store
from edgekit.pipeline.zoo import find_model
from edgekit.report.gates import Evidence, judge, with_resolved

__all__ = ["Examination", "Validation", "examining", "validate"]


@dataclass(frozen=True)
class Validation:
    """The state of an artifact.

    Attributes:
        device: where it ran, as its URI.
        golden_sqnr: its answers to the golden samples against those of the build, in dB; of its worst output.
        proof: the precisions that it ran in here, against those that were promised.
        metrics: on the data; without the original model only what the artifact alone can show.
        agreement: the device's answers to the data held against this host's; an agreement of 100 points is every one.
        gates: the accuracy gates, where the original model was given.
    """

    schema_version: int
    artifact: str
    target: str
    device: str
    measurement: Measurement
    golden_sqnr: float
    proof: PrecisionProof
    metrics: tuple[Metric, ...]
    agreement: tuple[Metric, ...]
    gates: tuple[Gate, ...]
    exit_code: int


def validate(
    path: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    metric: str | None = None,
    max_drop: float | None = None,
    threads: int = 1,
    device: Device | str = LOCAL,
) -> Validation:
    """Check an artifact on a device: digests, golden answers, precisions, and accuracy where there is data.

    Args:
        path, data, model, metric, max_drop, threads: as `examining`.
        device: where it runs; a URI will do.

    Raises:
        IntegrityError: a file is not what the manifest says, here or on the device.
        BrokenPromiseError: the golden answers or the precisions are not those of the build.
        InvalidInputError: the data does not fit, or `model` is not the one that the artifact was built from.
        DeviceError: the device can't be reached.
    """
    asked = examining(path, data=data, model=model, metric=metric, max_drop=max_drop, threads=threads)
    with asked as examination, using(device) as there:
        return examination.on(there)


@contextlib.contextmanager
def examining(
    path: str | Path,
    *,
    data: str | None = None,
    model: str | None = None,
    metric: str | None = None,
    max_drop: float | None = None,
    threads: int = 1,
) -> Iterator[Examination]:
    """An artifact with all that judges it, read and checked once, to be run on any number of devices.

    Args:
        path: a target's folder, or a file in it.
        data: all of it judges; it is preprocessed as the build did.
        model: the model that the artifact was built from; then the drop is gated as a build gates it.
        metric: "module:function"; code that only the manifest names is never run.
        max_drop: the limit, for a gated drop.
        threads: threads of the runtime.

    Raises:
        IntegrityError, InvalidInputError: as `validate`.
    """
    folder = artifact_folder(Path(path))
    manifest = read_manifest(folder)
    with reading_manifest(folder):
        recipe = _without_code(Recipe.model_validate(manifest["recipe"]), metric)
        name, target = manifest["backend"]["name"], manifest["target"]["name"]
        artifact, source = stored_artifact(folder, manifest), _source(manifest)
    backend = load_backend(name)
    expected = load_arrays(folder / GOLDEN_NAME)
    with scratch() as root:
        # A store of its own: what is validated is run, not remembered.
        store = Store(root)
        judged = None
        if data is not None:
            section = recipe.data.model_copy(update={"data": None, "train": None, "eval": data, "none": False})
            judged = prepare_data(store, source, section, batch=_batch(artifact), seed=recipe.run.seed)
        yield Examination(
            folder=folder,
            target=target,
            artifact=artifact,
            source=source,
            backend=backend,
            recipe=recipe,
            golden=_golden_samples(root, expected, artifact, source),
            expected=rearranged(_keyed(expected, "output:"), artifact.outputs, source.outputs),
            data=judged,
            reference=_reference(store, source, judged, recipe, model) if judged and model else None,
            max_drop=max_drop,
            threads=threads,
            store=store,
        )


@dataclass(frozen=True)
class Examination:
    """An artifact with all that judges it.

    Attributes:
        golden, expected: the golden samples, and the answers to them when it was built, by the Model's names.
        data: what judges; None without.
        reference: the original model's answers to it; None where it was not given.
    """

    folder: Path
    target: str
    artifact: Artifact
    source: SourceModel
    backend: Backend
    recipe: Recipe
    golden: Samples
    expected: Arrays
    data: Data | None
    reference: Arrays | None
    max_drop: float | None
    threads: int
    store: Store
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def on(self, device: Device) -> Validation:
        """What the artifact shows on a device. Several devices may be asked at once.

        Raises:
            IntegrityError, BrokenPromiseError, DeviceError: as `validate`.
        """
        run = self._run(device)
        sqnr = self._check_golden(run, device)
        proof = self._prove(run, device)
        agreement = () if device is LOCAL or self.data is None else self._agreement(run)
        metrics, gates, code = self._judge(run)
        return Validation(
            schema_version=1,
            artifact=str(self.folder),
            target=self.target,
            device=device.uri,
            measurement=run.measurements[0],
            golden_sqnr=sqnr,
            proof=proof,
            metrics=metrics,
            agreement=agreement,
            gates=gates,
            exit_code=code,
        )

    def _run(self, device: Device) -> Run:
        return run_artifact(
            self.store,
            self.backend,
            self.artifact,
            self.source,
            title="run the artifact" if device is LOCAL else f"run the artifact · on {device.uri}",
            golden=self.golden,
            samples=Samples(self.data.samples("report"), self.data.entry.key) if self.data else None,
            threads=self.threads,
            timing=False,
            device=device,
        )

    def _check_golden(self, run: Run, device: Device) -> float:
        found = worst_sqnr(self.expected, run.golden[0])
        if not found >= MIN_GOLDEN_SQNR:
            raise BrokenPromiseError(
                f"{self.folder} answers its golden samples otherwise than when it was built: {found:.1f} dB,"
                f" at least {MIN_GOLDEN_SQNR:.0f} dB are due",
                blame=f"{run.measurements[0].runtime} on {_place(device)}",
                remedy=f"Try the runtime that the manifest names, or build for {_place(device)}.",
            )
        return found

    def _prove(self, run: Run, device: Device) -> PrecisionProof:
        proof = self.backend.prove(self.artifact.plan, run.measurements[0].account)
        if proof.violations:
            raise BrokenPromiseError(
                f"{self.folder} should be {proof.promised} and ran otherwise: {'; '.join(proof.violations)}",
                blame=f"{run.measurements[0].runtime} on {_place(device)}",
                remedy=f"Try the runtime that the manifest names, or build for {_place(device)}.",
            )
        return proof

    def _agreement(self, run: Run) -> tuple[Metric, ...]:
        """The device's answers held against this host's, which runs the artifact once for all devices."""
        with self._one_at_a_time:
            here = self._run(LOCAL)
        assert here.answers is not None
        return self._evaluate(here.answers, run, None)

    def _judge(self, run: Run) -> tuple[tuple[Metric, ...], tuple[Gate, ...], int]:
        if self.data is None or run.answers is None:
            return (), (), 0
        file, samples = self.data.targets("report"), self.data.samples("report")
        targets = load_arrays(file) if file else None
        metrics = self._evaluate(
            self.reference or run.answers,
            run,
            targets,
            custom=self.recipe.data.metric,
            echoed=None if targets else echoed(self.source, samples),
        )
        if self.reference is None:
            # Beside itself nothing drops: what the truth says of the artifact is all that is left.
            known = tuple(replace(each, float=None, drop=None, ci95=None) for each in metrics if each.float is not None)
            return known, (), 0
        gates, code = judge(GateSection(max_drop=self.max_drop), Evidence(metrics=metrics))
        return with_resolved(metrics, gates), tuple(gate for gate in gates if gate.name != "min-speedup"), code

    def _evaluate(self, before: Arrays, run: Run, targets: Arrays | None, **more: Any) -> tuple[Metric, ...]:
        """The metrics of a run's answers beside others."""
        source, measured = self.source, run.measurements[0]
        assert run.answers is not None
        return tuple(
            evaluate(
                unroll.judged(before, targets, source.states),
                unroll.judged(run.answers, targets, source.states),
                targets,
                source.judged_outputs,
                where=measured.where,
                kind=measured.kind,
                activations=source.activations,
                steps=source.steps,
                seed=self.recipe.run.seed,
                **more,
            )
        )


def _place(device: Device) -> str:
    return "this machine" if device is LOCAL else device.uri


def _batch(artifact: Artifact) -> int:
    """The batch size that an artifact is fixed to."""
    fed = (spec for spec in artifact.inputs if spec.name not in dict(artifact.states))
    return next((spec.shape[0] for spec in fed if spec.shape and spec.shape[0]), 1)


def _without_code(recipe: Recipe, metric: str | None) -> Recipe:
    """The recipe of a manifest, which may come from anywhere: it says what was done, and starts nothing by itself."""
    model = recipe.model.model_copy(update={"trust": False, "custom_objects": None})
    return recipe.model_copy(update={"model": model, "data": recipe.data.model_copy(update={"metric": metric})})


def _reference(store: Store, source: SourceModel, data: Data, recipe: Recipe, model: str) -> Arrays:
    """The original model's answers, if `model` is the original."""
    original = import_source(default_store(), find_model(model).path, recipe.model, recipe.run.seed)
    if original.digest != source.digest:
        raise InvalidInputError(
            f"{model} is not the model that this artifact was built from",
            blame="the command line",
            remedy="Give that model, or leave --model away.",
        )
    samples = Samples(data.samples("report"), data.entry.key)
    return load_arrays(run_reference(store, original, samples, "run the original model"))


def _golden_samples(folder: Path, golden: Arrays, artifact: Artifact, source: SourceModel) -> Samples:
    """The golden inputs under the Model's names and in its layouts."""
    path = folder / "golden-inputs.npz"
    np.savez(path, **rearranged(_keyed(golden, "input:"), artifact.inputs, source.inputs))  # type: ignore[arg-type]
    return Samples(path, "golden")


def _keyed(golden: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in golden.items() if name.startswith(prefix)}


def _source(manifest: Mapping[str, Any]) -> SourceModel:
    about = manifest["model"]
    return SourceModel(
        path=Path(about["name"]),
        digest=about["digest"],
        inputs=from_json(tuple[TensorSpec, ...], about["inputs"]),
        outputs=from_json(tuple[TensorSpec, ...], about["outputs"]),
        activations=about["activations"],
        report={},
        steps=about.get("steps", {}),
        states=from_json(States, about.get("states", [])),
    )
