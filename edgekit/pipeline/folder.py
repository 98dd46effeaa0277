"""What a target's folder holds: the artifact, the files to drop in beside it, the manifest and the report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import __version__
from edgekit.core.digest import digest_file
from edgekit.core.plain import to_json
from edgekit.core.types import Artifact, Precision, TensorSpec
from edgekit.data.preprocess import describe
from edgekit.passes.recover.settings import LearningCurve
from edgekit.pipeline.findings import Trial
from edgekit.pipeline.measure import Arrays, load_arrays, rearranged
from edgekit.pipeline.output import MANIFEST_NAME, write_json
from edgekit.pipeline.trial import TargetJob
from edgekit.report.build_report import PrunedReport, TargetReport, ThinnedReport

__all__ = ["GOLDEN_NAME", "REPORT_NAME", "write_target"]

GOLDEN_NAME = "golden.npz"
REPORT_NAME = "report.json"


def write_target(folder: Path, name: str, target: TargetJob, trial: Trial, report: TargetReport) -> None:
    """Fill the empty `folder` with the result for one target.

    Everything but `report.json` is the same, byte for byte, whenever the same build is repeated.
    """
    artifact = trial.artifact
    for file in artifact.files:
        shutil.copyfile(file, folder / file.name)
    np.savez(folder / GOLDEN_NAME, **_golden(target, trial))  # type: ignore[arg-type]
    if target.job.data.class_names:
        (folder / "labels.txt").write_text("\n".join(target.job.data.class_names) + "\n", encoding="utf-8")
    steps = target.job.recipe.data.preprocess
    write_json(folder / "preprocess.json", {"inputs": [describe(steps, spec) for spec in _inputs(target, artifact)]})
    (folder / "example.py").write_text(target.backend.example(artifact), encoding="utf-8")
    listed = [
        {"name": file.name, "sha256": digest_file(file), "bytes": file.stat().st_size}
        for file in sorted(folder.iterdir())
    ]
    write_json(folder / MANIFEST_NAME, _manifest(name, target, trial, report, listed))
    write_json(folder / REPORT_NAME, to_json(report))


def _golden(target: TargetJob, trial: Trial) -> Arrays:
    """Inputs as the artifact takes them, its answers on this machine, and the original model's answers.

    Keys: "input:<name>", "output:<name>" and "float:<name>" by the artifact's names; all in the artifact's layouts.
    Of a model with state they are sequences: (sequences, steps, …), and (sequences, …) what a state starts from.
    """
    model, artifact = target.job.original, trial.artifact
    inputs, outputs = _inputs(target, artifact), _outputs(target, artifact)
    samples = rearranged(load_arrays(target.job.golden.path), model.inputs, inputs)
    answers = rearranged(trial.golden, model.outputs, outputs)
    truth = rearranged(target.job.golden_reference, model.outputs, outputs)
    named = (("input", samples), ("output", answers), ("float", truth))
    return {f"{prefix}:{name}": values for prefix, arrays in named for name, values in arrays.items()}


def _manifest(
    name: str, target: TargetJob, trial: Trial, report: TargetReport, files: list[dict[str, Any]]
) -> Mapping[str, Any]:
    job, artifact = target.job, trial.artifact
    # Names, not paths: a manifest says what was used, wherever it lay, and no host of whoever built it.
    named = {"model": {"path"}, "data": {"data", "train", "eval"}, "run": {"devices", "boards"}}
    splits = {
        name: {**split, "source": Path(split["source"]).name} for name, split in job.data.entry.value["splits"].items()
    }
    return {
        "schema_version": 1,
        "tool": {"name": "edgekit", "version": __version__},
        "model": {
            "name": name,
            "format": job.original.report["format"],
            "digest": job.original.digest,
            "inputs": to_json(job.original.inputs),
            "outputs": to_json(job.original.outputs),
            "states": to_json(job.original.states),
            "activations": dict(job.original.activations),
            "quantized": job.original.quantized,
            "steps": dict(job.original.steps),
            "params": job.original.report["params"],
            "macs": job.original.report["macs"],
            "parity": job.original.report["parity"],
            "cut": job.original.report["cut"],
        },
        "target": {"name": target.target.name, "digest": target.target.digest},
        "backend": {
            "name": target.backend.name,
            "version": target.backend.version,
            "tools": dict(target.backend.tools()),
        },
        "artifact": {
            "files": [file.name for file in artifact.files],
            "digest": artifact.digest,
            "bytes": artifact.size,
            "float_bytes": report.float_bytes,
            "download_bytes": report.download_bytes,
            "float_download_bytes": report.float_download_bytes,
            "runtime": target.backend.runtime,
            "runtime_options": to_json(artifact.runtime_options),
            "device_runtime": artifact.device_runtime,
            "min_runtime": artifact.min_runtime,
            "inputs": to_json(_inputs(target, artifact)),
            "outputs": to_json(_outputs(target, artifact)),
            "states": to_json(artifact.states),
        },
        "precision": to_json(trial.proof),
        "plan": to_json(artifact.plan),
        "recipe": job.recipe.model_dump(mode="json", exclude=named),
        "splits": splits,
        "synthetic_data": job.data.synthetic,
        "pruned": _repeatable(report.pruned),
        "thinned": _repeatable(report.thinned),
        "recovered": [_repeatable(curve) for curve in report.recovered],
        "repair": to_json(target.repair) if trial.plan.default is Precision.INT8 else None,
        "equalised": target.filled.report.get("equalised", 0),
        "fusion": to_json(target.filled.report.get("passes", [])),
        # Without the machine that ran: another one of the same instruction set repeats them.
        "metrics": [{key: value for key, value in to_json(each).items() if key != "where"} for each in report.metrics],
        "files": files,
    }


def _repeatable(report: PrunedReport | ThinnedReport | LearningCurve | None) -> Mapping[str, Any] | None:
    """All of it but what a clock said."""
    clocked = {"dense_ratio", "filled_ratio", "predicted", "seconds", "images_per_second"}

    def without(content: Any) -> Any:
        if isinstance(content, Mapping):
            return {key: without(value) for key, value in content.items() if key not in clocked}
        return [without(value) for value in content] if isinstance(content, list) else content

    return without(to_json(report))  # type: ignore[no-any-return]


def _inputs(target: TargetJob, artifact: Artifact) -> tuple[TensorSpec, ...]:
    return artifact.inputs or target.job.original.inputs


def _outputs(target: TargetJob, artifact: Artifact) -> tuple[TensorSpec, ...]:
    return artifact.outputs or target.job.original.outputs
