"""What the pipeline's child processes run: thin adapters from JSON arguments to the rooms that do the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.plain import from_json

__all__ = [
    "compile_artifact", "equalise_model", "fuse_model", "import_model", "prune_model", "recover_model", "repair_model",
    "thin_model",
]  # fmt: skip


def import_model(
    source: str, out: str, *, seed: int = 0, needed_by: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    """Import, and add what the rest of the build asks of the model: see `_describe`.

    Args:
        needed_by: target name → back end name: a model that none of these takes is refused before it is run.
    """
    from edgekit.formats.importer import import_model as run
    from edgekit.pipeline.survey import refuse_early

    def check(model: Path) -> None:
        refuse_early(model, needed_by or {}, seed)

    report = run(source=source, out=out, seed=seed, check=check, **options)
    return {**report, **_describe(Path(out, "model.onnx"))}


def fuse_model(source: str, out: str, seed: int) -> dict[str, Any]:
    """Fuse, and describe the result."""
    from edgekit.passes.fuse.stage import fuse_model as run

    report = run(source=source, out=out, seed=seed)
    return {**report, **_describe(Path(out, "model.onnx"))}


def equalise_model(source: str, out: str, samples: str, seed: int) -> dict[str, Any]:
    """Equalise, and describe the result."""
    from edgekit.passes.equalise.stage import equalise_model as run

    report = run(source, out, samples, seed)
    return {**report, **_describe(Path(out, "model.onnx"))}


def repair_model(
    repair: dict[str, Any], integers: dict[str, Any], plan: dict[str, Any], **arguments: Any
) -> dict[str, Any]:
    """Repair for int8, and describe the result."""
    from edgekit.core.repair import Repair
    from edgekit.core.types import Integers, QuantPlan
    from edgekit.passes.quantize.stage import repair_model as run

    run(
        repair=from_json(Repair, repair),
        integers=from_json(Integers, integers),
        plan=from_json(QuantPlan, plan),
        **arguments,
    )
    return _describe(Path(arguments["out"], "model.onnx"))


def prune_model(pruning: dict[str, Any], *, targets: str | None, **arguments: Any) -> dict[str, Any]:
    """Take channels or ranks, and describe the result."""
    from edgekit.passes.factorize.stage import factorize_model
    from edgekit.passes.prune.request import Pruning
    from edgekit.passes.prune.stage import prune_model as run

    how: Pruning = from_json(Pruning, pruning)
    report = (
        factorize_model(pruning=how, **arguments) if how.factorize else run(pruning=how, targets=targets, **arguments)
    )
    return {**report, **_describe(Path(arguments["out"], "model.onnx"))}


def recover_model(settings: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Train, and describe the result."""
    from edgekit.passes.recover.settings import RecoverSettings
    from edgekit.passes.recover.stage import recover_model as run

    report = run(settings=from_json(RecoverSettings, settings), **arguments)
    return {**report, **_describe(Path(arguments["out"], "model.onnx"))}


def thin_model(thinning: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Thin out the weights, and describe the result."""
    from edgekit.passes.thin import Thinning
    from edgekit.passes.thin import thin_model as run

    report = run(thinning=from_json(Thinning, thinning), **arguments)
    return {**report, **_describe(Path(arguments["out"], "model.onnx"))}


def compile_artifact(backend: str, request: dict[str, Any]) -> dict[str, Any]:
    """Compile; the artifact's files come back as names relative to the request's `workdir`."""
    from edgekit.backends.base import CompileRequest, load_backend
    from edgekit.core.plain import to_json

    parsed = from_json(CompileRequest, request)
    artifact = load_backend(backend).compile(parsed)
    answer: dict[str, Any] = to_json(artifact)
    answer["files"] = [str(file.relative_to(parsed.workdir)) for file in artifact.files]
    return answer


def _describe(path: Path) -> dict[str, Any]:
    """Specs, digest, cost, and the activation that ends each output, from the model file at `path`."""
    from edgekit.core.plain import to_json
    from edgekit.ir.cost import model_cost
    from edgekit.ir.model import Model

    model = Model.load(path)
    cost = model_cost(model)
    ends = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
    return {
        "inputs": to_json(model.inputs),
        "outputs": to_json(model.outputs),
        "digest": model.digest,
        "params": cost.params,
        "macs": cost.macs,
        "peak_bytes": cost.peak_bytes,
        "activations": {
            str(value.name): ends.get(producer.op_type) if (producer := value.producer()) else None
            for value in model.graph.outputs
        },
    }
