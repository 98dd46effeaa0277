"""What `edgekit validate` answers: a folder's files, golden answers and accuracy, as they are now on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import load_backend
from edgekit.core.errors import BrokenPromiseError, InvalidInputError
from edgekit.core.recipe import GateSection, Recipe
from edgekit.core.types import Artifact, Gate, Measurement, Metric, PrecisionProof, States, TensorSpec, from_json
from edgekit.data import unroll
from edgekit.data.metrics import evaluate
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
from edgekit.pipeline.output import artifact_folder, read_manifest, reading_manifest
from edgekit.pipeline.stages import Data, SourceModel, import_source, prepare_data
from edgekit.pipeline.store import Store, default_store
from edgekit.pipeline.zoo import find_model
from edgekit.report.gates import Evidence, judge, with_resolved

__all__ = ["Validation", "validate"]


@dataclass(frozen=True)
class Validation:
    """The state of an artifact.

    Attributes:
        golden_sqnr: its answers to the golden samples against those of the build, in dB; of its worst output.
        proof: the precisions that it ran in here, against those that were promised.
        metrics: on the data; without the original model only what the artifact alone can show.
        gates: the accuracy gates, where the original model was given.
    """

    schema_version: int
    artifact: str
    target: str
    measurement: Measurement
    golden_sqnr: float
    proof: PrecisionProof
    metrics: tuple[Metric, ...]
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
) -> Validation:
    """Check an artifact on this machine: digests, golden answers, precisions, and accuracy where there is data.

    Args:
        path: a target's folder, or a file in it.
        data: all of it judges; it is preprocessed as the build did.
        model: the model that the artifact was built from; then the drop is gated as a build gates it.
        metric: "module:function"; code that only the manifest names is never run.
        max_drop: the limit, for a gated drop.
        threads: threads of the runtime.

    Raises:
        IntegrityError: a file is not what the manifest says.
        BrokenPromiseError: the golden answers or the precisions are not those of the build.
        InvalidInputError: the data does not fit, or `model` is not the one that the artifact was built from.
    """
    folder = artifact_folder(Path(path))
    manifest = read_manifest(folder)
    with reading_manifest(folder):
        recipe = _without_code(Recipe.model_validate(manifest["recipe"]), metric)
        name, target = manifest["backend"]["name"], manifest["target"]["name"]
        artifact, source = _artifact(folder, manifest), _source(manifest)
    backend = load_backend(name)
    expected = load_arrays(folder / GOLDEN_NAME)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        # A store of its own: what is validated is run, not remembered.
        store = Store(Path(scratch))
        judged = None
        if data is not None:
            section = recipe.data.model_copy(update={"data": None, "train": None, "eval": data, "none": False})
            judged = prepare_data(store, source, section, batch=_batch(artifact), seed=recipe.run.seed)
        run = run_artifact(
            store,
            backend,
            artifact,
            source,
            title="run the artifact",
            golden=_golden_samples(Path(scratch), expected, artifact, source),
            samples=Samples(judged.samples("report"), judged.entry.key) if judged else None,
            threads=threads,
            timing=False,
        )
        sqnr = _check_golden(folder, run, rearranged(_keyed(expected, "output:"), artifact.outputs, source.outputs))
        proof = backend.prove(artifact.plan, run.measurements[0].account)
        if proof.violations:
            raise BrokenPromiseError(
                f"{folder} should be {proof.promised} and ran otherwise: {'; '.join(proof.violations)}",
                blame=f"{run.measurements[0].runtime} on this machine",
                remedy="Try the runtime that the manifest names, or build for this machine.",
            )
        metrics, gates, code = _judge(store, source, run, judged, recipe, model, max_drop) if judged else ((), (), 0)
    return Validation(1, str(folder), target, run.measurements[0], sqnr, proof, metrics, gates, code)


def _batch(artifact: Artifact) -> int:
    """The batch size that an artifact is fixed to."""
    fed = (spec for spec in artifact.inputs if spec.name not in dict(artifact.states))
    return next((spec.shape[0] for spec in fed if spec.shape and spec.shape[0]), 1)


def _without_code(recipe: Recipe, metric: str | None) -> Recipe:
    """The recipe of a manifest, which may come from anywhere: it says what was done, and starts nothing by itself."""
    model = recipe.model.model_copy(update={"trust": False, "custom_objects": None})
    return recipe.model_copy(update={"model": model, "data": recipe.data.model_copy(update={"metric": metric})})


def _judge(  # noqa: PLR0917 - all that a judgement needs, once
    store: Store, source: SourceModel, run: Run, data: Data, recipe: Recipe, model: str | None, max_drop: float | None
) -> tuple[tuple[Metric, ...], tuple[Gate, ...], int]:
    assert run.answers is not None
    reference = _reference(store, source, data, recipe, model) if model else run.answers
    file = data.targets("report")
    targets = load_arrays(file) if file else None
    metrics = evaluate(
        unroll.judged(reference, targets, source.states),
        unroll.judged(run.answers, targets, source.states),
        targets,
        source.judged_outputs,
        where=run.measurements[0].where,
        custom=recipe.data.metric,
        activations=source.activations,
        echoed=None if targets else echoed(source, data.samples("report")),
        steps=source.steps,
        seed=recipe.run.seed,
    )
    if model is None:
        # Beside itself nothing drops: what the truth says of the artifact is all that is left.
        known = tuple(replace(each, float=None, drop=None, ci95=None) for each in metrics if each.float is not None)
        return known, (), 0
    gates, code = judge(GateSection(max_drop=max_drop), Evidence(metrics=tuple(metrics)))
    return with_resolved(tuple(metrics), gates), tuple(gate for gate in gates if gate.name != "min-speedup"), code


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


def _check_golden(folder: Path, run: Run, expected: Arrays) -> float:
    found = worst_sqnr(expected, run.golden[0])
    if not found >= MIN_GOLDEN_SQNR:
        raise BrokenPromiseError(
            f"{folder} answers its golden samples otherwise than when it was built: {found:.1f} dB,"
            f" at least {MIN_GOLDEN_SQNR:.0f} dB are due",
            blame=f"{run.measurements[0].runtime} on this machine",
            remedy="Try the runtime that the manifest names, or build for this machine.",
        )
    return found


def _golden_samples(scratch: Path, golden: Arrays, artifact: Artifact, source: SourceModel) -> Samples:
    """The golden inputs under the Model's names and in its layouts."""
    path = scratch / "golden-inputs.npz"
    np.savez(path, **rearranged(_keyed(golden, "input:"), artifact.inputs, source.inputs))  # type: ignore[arg-type]
    return Samples(path, "golden")


def _keyed(golden: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in golden.items() if name.startswith(prefix)}


def _artifact(folder: Path, manifest: Mapping[str, Any]) -> Artifact:
    about = manifest["artifact"]
    files = [folder / name for name in about["files"]]
    built: Artifact = from_json(
        Artifact, {**about, "files": files, "backend": manifest["backend"]["name"], "plan": manifest["plan"]}
    )
    return built


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
