"""The stages that make another model of a model, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.core.digest import digest_file
from edgekit.core.plain import to_json
from edgekit.core.repair import Repair
from edgekit.core.types import Integers, QuantPlan
from edgekit.passes.prune.request import Pruning
from edgekit.passes.thin import Thinning
from edgekit.pipeline import child
from edgekit.pipeline.stages.models import ONNX_TOOLS, SourceModel, source_model, tool_versions
from edgekit.pipeline.store import Store

__all__ = ["equalise", "fuse", "prune", "repair_for", "thin"]


def fuse(store: Store, model: SourceModel, seed: int) -> SourceModel:
    """Fuse operators; the outputs stay the same, which the pass framework checks."""
    doing = ("fuse operators", "fusing operators")
    return _changed(store, model, "fuse", doing, {"seed": seed}, blame="edgekit", tools=ONNX_TOOLS)


def equalise(store: Store, model: SourceModel, *, samples: Path, seed: int) -> SourceModel:
    """Move scales of channels that stand out; the outputs stay the same, which the pass framework checks.

    Args:
        model: a fused one.
        samples: calibration samples that show the ranges.
    """
    doing = ("even out the channels", "evening out the channels")
    request = {"samples": samples, "seed": seed}
    return _changed(store, model, "equalise", doing, request, blame="edgekit", tools=ONNX_TOOLS)


def repair_for(
    store: Store, model: SourceModel, repair: Repair, integers: Integers, plan: QuantPlan, *, samples: Path, seed: int
) -> SourceModel:
    """Bring a fused model into the int8 form of a back end, repaired.

    Args:
        integers: what int8 is to the back end.
        plan: which layers are int8.
        samples: calibration samples.
    """
    request = {"repair": repair, "integers": integers, "plan": plan, "samples": samples, "seed": seed}
    doing = (f"repair for int8: {repair}", "repairing for int8")
    return _changed(store, model, "repair", doing, request, blame="your model", tools=("numpy", *ONNX_TOOLS))


def prune(
    store: Store, model: SourceModel, pruning: Pruning, *, samples: Path, targets: Path | None, seed: int
) -> SourceModel:
    """Take channels, or ranks; the inputs and outputs stay.

    Args:
        model: the imported one, whose layers still have their BatchNormalizations.
        samples: calibration samples to choose and compensate with.
        targets: their labels, if there are any.
    """
    request = {"pruning": pruning, "samples": samples, "targets": targets, "seed": seed}
    doing = ("factorize layers", "factorizing layers") if pruning.factorize else ("prune channels", "pruning channels")
    return _changed(store, model, "prune", doing, request, blame="your model", tools=("tensorflow", *ONNX_TOOLS))


def thin(store: Store, model: SourceModel, thinning: Thinning, *, samples: Path | None, seed: int) -> SourceModel:
    """Make weights zero, or let them share values.

    Args:
        model: a fused one.
        samples: calibration samples on which layers are brought back to their outputs, if there are any.
    """
    request = {"thinning": thinning, "samples": samples, "seed": seed}
    doing, tools = ("thin out the weights", "thinning out the weights"), ("numpy", *ONNX_TOOLS)
    return _changed(store, model, "thin", doing, request, blame="your model", tools=tools)


def _changed(
    store: Store,
    model: SourceModel,
    kind: str,
    doing: tuple[str, str],
    request: Mapping[str, Any],
    *,
    blame: str,
    tools: Sequence[str],
) -> SourceModel:
    """The model after `<kind>_model` of `pipeline.native` in a child; files of the request count by their content.

    Args:
        kind: of the stage.
        doing: what it does, for its title and for the error of a child that died meanwhile.
        request: the child's arguments beside the model and the folder.
        blame: whose doing such a death is.
        tools: packages whose versions count.
    """

    def work(folder: Path) -> Any:
        return child.call(
            f"edgekit.pipeline.native:{kind}_model",
            {"source": str(model.path), "out": str(folder), **to_json(request)},
            what=doing[1],
            blame=blame,
        )

    digests = {key: digest_file(value) if isinstance(value, Path) else value for key, value in request.items()}
    inputs = {"model": model.digest, **digests, "tools": tool_versions(tools)}
    return replace(source_model(store.make(kind, doing[0], inputs, work)), states=model.states)
