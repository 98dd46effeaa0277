"""The stage that makes an artifact of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import Backend
from edgekit.core.digest import digest_file
from edgekit.core.plain import from_json
from edgekit.core.types import Artifact, Preprocess, QuantPlan, States
from edgekit.pipeline import child
from edgekit.pipeline.stages.models import SourceModel
from edgekit.pipeline.store import Store

__all__ = ["compile_plan"]


def compile_plan(
    store: Store,
    backend: Backend,
    model: SourceModel,
    plan: QuantPlan,
    *,
    baseline: Artifact | None,
    calibration: Path | None,
    labels: Sequence[str],
    batch: int,
    io: str,
    preprocess: Preprocess,
    options: Mapping[str, str],
    saturates: bool,
    seed: int,
) -> Artifact:
    """Compile the model with `plan`; float first, then what is made from the float artifact."""
    request: dict[str, Any] = {
        "plan": plan,
        "batch": batch,
        "io": io,
        "labels": labels,
        "preprocess": preprocess,
        "options": tuple(sorted(options.items())),
        "saturates": saturates,
        "seed": seed,
    }
    inputs = {
        **request,
        "backend": [backend.name, backend.version],
        "model": model.digest,
        "baseline": baseline.digest if baseline else None,
        "calibration": digest_file(calibration) if calibration else None,
        "tools": dict(backend.tools()),
    }

    def work(folder: Path) -> Any:
        paths = {
            "model": model.path,
            "baseline": baseline,
            "calibration": calibration,
            "workdir": folder,
        }
        return child.call(
            "edgekit.pipeline.native:compile_artifact",
            {"backend": backend.name, "request": {**request, **paths}},
            what=f"compiling {plan.precision} with {backend.name}",
            blame=f"the back end {backend.name} on your model",
        )

    entry = store.make("compile", f"compile {plan.precision} · {backend.name}", inputs, work)
    files = tuple(entry.file(name) for name in entry.value["files"])
    artifact: Artifact = from_json(Artifact, {**entry.value, "files": files})
    return replace(artifact, states=_own_states(model, artifact))


def _own_states(model: SourceModel, artifact: Artifact) -> States:
    """The model's states by the artifact's names; inputs and outputs go pair by pair."""
    inputs = dict(zip((spec.name for spec in model.inputs), artifact.inputs or model.inputs, strict=True))
    outputs = dict(zip((spec.name for spec in model.outputs), artifact.outputs or model.outputs, strict=True))
    return tuple((inputs[source].name, outputs[target].name) for source, target in model.states)
