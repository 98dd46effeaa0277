"""What `edgekit explain DIR` answers: which layers of a built network int8 breaks, and what its operators take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import load_backend
from edgekit.core import events
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.plain import from_json
from edgekit.core.recipe import Recipe
from edgekit.core.sensitivity import Sensitivity, own_worst
from edgekit.core.types import QuantPlan
from edgekit.devices.answer import Profile, parse_profile
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL, measure
from edgekit.devices.opening import using
from edgekit.pipeline.folder import REPORT_NAME
from edgekit.pipeline.job import Job
from edgekit.pipeline.op_layers import op_rows
from edgekit.pipeline.output import (
    MANIFEST_NAME,
    read_manifest,
    reading_manifest,
    stored_artifact,
)
from edgekit.pipeline.sensitivity import sensitivity_of
from edgekit.pipeline.stages import SourceModel, stored_data, stored_model
from edgekit.pipeline.store import Store, default_store
from edgekit.report.blame import Blame, TargetBlame, ranked

__all__ = ["explain_build"]

# Of how many layers is told what the repairs left.
_LOOKED_AT = 10
_INFERENCES = 50


@dataclass(frozen=True)
class _Built:
    """A target's folder with what the store has of its build."""

    folder: Path
    manifest: Mapping[str, Any]
    job: Job
    compiled: SourceModel


def explain_build(path: str | Path, *, device: Device | str = LOCAL) -> Blame:
    """Which layers int8 breaks, and what each operator takes on the runtime, for each target of a build.

    Args:
        path: the output folder of a build, or a target's folder in it.
        device: where the operators are timed; a URI will do.

    Raises:
        UsageError: it is no such folder.
        InvalidInputError: the store no longer has what the build made.
        IntegrityError: a file is not what the manifest says.
    """
    top = Path(path)
    folders = (
        [top] if (top / MANIFEST_NAME).is_file() else sorted(each.parent for each in top.glob(f"*/{MANIFEST_NAME}"))
    )
    if not folders:
        raise UsageError(
            f"{path} is no folder that a build wrote",
            blame="the command line",
            remedy=f"Name one, like build/digits-cnn; of a model, only pruning: edgekit explain --pruning {path}",
        )
    store = default_store()
    with using(device) as there:
        targets = tuple(_explain(store, folder, there) for folder in folders)
    return Blame(schema_version=1, folder=str(top), targets=targets)


def _explain(store: Store, folder: Path, device: Device) -> TargetBlame:
    built = _restore(store, folder)
    job, manifest = built.job, built.manifest
    with reading_manifest(folder):
        plan: QuantPlan = from_json(QuantPlan, manifest["plan"])
        target, backend = manifest["target"]["name"], manifest["backend"]["name"]
    found, left = _sensitivities(built)
    profile, runtime, where = _profile(folder, manifest, device)
    ops = op_rows(profile.ops, found)
    times: dict[str, float] = {}
    for op in ops:
        if op.layer is not None:
            times[op.layer] = times.get(op.layer, 0.0) + op.share
    return TargetBlame(
        target=target,
        backend=backend,
        precision=str(manifest["precision"]["promised"]),
        samples=found.samples,
        labelled=any(cost.drop is not None for cost in found.layers),
        synthetic=job.data.synthetic,
        naive=found.naive,
        repaired=left.naive if left else None,
        layers=ranked(found, {cost.layer: cost for cost in left.layers} if left else {}, plan, times),
        ops=ops,
        total_us=sum(op.us for op in ops),
        note=profile.note,
        runtime=runtime,
        where=where,
    )


def _restore(store: Store, folder: Path) -> _Built:
    """The folder, and what the store has of its build.

    Raises:
        InvalidInputError: the store lacks some of it.
    """
    manifest = read_manifest(folder)
    with reading_manifest(folder):
        recipe = Recipe.model_validate(manifest["recipe"])
        places = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8")).get("store", {})
        name, target = manifest["model"]["name"], manifest["target"]["name"]
        synthetic = manifest["synthetic_data"]
    models = {kind: stored_model(store, str(places.get(kind))) for kind in ("original", "plain", "compiled")}
    data = stored_data(store, str(places.get("data")), synthetic=synthetic)
    original, plain, compiled = models["original"], models["plain"], models["compiled"]
    if original is None or plain is None or compiled is None or data is None:
        raise InvalidInputError(
            f"the network and the samples that {folder} was made of are not in the store {store.root}",
            blame="this machine",
            remedy=f"Build it again, here: edgekit build {name} -t {target} --data … -o {folder.parent}; or name the"
            " store that has them: EDGEKIT_CACHE=/some/folder edgekit explain …",
        )
    if original.digest != manifest["model"]["digest"]:
        raise InvalidInputError(
            f"{folder / REPORT_NAME} speaks of another model than {folder / MANIFEST_NAME}",
            blame="whoever changed or copied the folder",
            remedy="Copy the whole folder again, or build it again.",
        )
    plain, compiled = replace(plain, states=original.states), replace(compiled, states=original.states)
    return _Built(folder, manifest, Job(store, recipe, original, plain, plain, data), compiled)


def _sensitivities(built: _Built) -> tuple[Sensitivity, Sensitivity | None]:
    """Of the network as it came; and of its worst layers as they were compiled, where that is another network."""
    job = built.job
    if "selection" in job.data.splits:
        samples, targets = job.judging
    else:
        samples, targets = job.calibration, None

    def measured(model: SourceModel, only: tuple[str, ...] | None = None) -> Sensitivity:
        return sensitivity_of(
            job.store, model, calibration=job.calibration, samples=samples, targets=targets, only=only
        )

    found = measured(job.plain)
    if built.compiled.digest == job.plain.digest:
        return found, None
    worst = sorted(found.layers, key=own_worst)[:_LOOKED_AT]
    return found, measured(built.compiled, tuple(cost.layer for cost in worst))


def _profile(folder: Path, manifest: Mapping[str, Any], device: Device) -> tuple[Profile, str, str]:
    """What each operator takes, which runtime took it, and where."""
    with reading_manifest(folder):
        artifact = stored_artifact(folder, manifest)
    backend = load_backend(artifact.backend)
    with events.stage(f"time the operators · {artifact.backend}"):
        measurements, answer = measure(
            artifact.path,
            device=device,
            digest=artifact.digest,
            options=artifact.runtime_options,
            states=artifact.states,
            runtime=backend.runtime if device is LOCAL else artifact.device_runtime or None,
            timing=False,
            profile=_INFERENCES,
        )
    return parse_profile(answer), measurements[0].runtime, measurements[0].where
