"""A model in hand, and what `edgekit inspect` answers: its layers, how it fuses, and what each target can't take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.plain import from_json
from edgekit.core.recipe_file import model_section
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store
from edgekit.pipeline.survey import look, look_in_child
from edgekit.pipeline.targets import load_target
from edgekit.pipeline.zoo import find_model
from edgekit.report.inspection import Fusion, Inspection, inspect_model

if TYPE_CHECKING:
    from edgekit.ir.model import Model

__all__ = ["inspect", "load", "look_closely"]


def inspect(
    model: str,
    targets: Sequence[str] = (),
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    states: Mapping[str, str] | str | None = None,
    trust: bool = False,
    custom_objects: str | None = None,
) -> Inspection:
    """Import and fuse a model (checked, and kept for the build that follows) and look at it; nothing is converted.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        targets: names of targets, or paths of target files, to hold it against.
        input_shapes: static shapes for inputs whose file leaves sizes open.
        states: inputs that are recurrent state, each with the output that feeds it at the next step; or "none".
        trust: run code that the file carries (Keras Lambda layers).
        custom_objects: "module:NAME" with the classes of custom Keras layers.
    """
    wanted = [load_target(name) for name in targets]
    answer = look_in_child(
        f"{__name__}:look_closely",
        default_store(),
        find_model(model).path,
        model_section(input_shapes or {}, states, trust=trust, custom_objects=custom_objects),
        {
            "targets": {target.name: target.backend for target in wanted},
            "memory": {target.name: target.memory_mib and target.memory_mib << 20 for target in wanted},
        },
    )
    found: Inspection = from_json(Inspection, answer)
    return found


def look_closely(
    store: str,
    source: str,
    options: Mapping[str, Any],
    targets: Mapping[str, str],
    memory: Mapping[str, int | None],
) -> Inspection:
    """`inspect` in its child, so that only one process waits for the onnx packages.

    Args:
        store, source, options: as for `survey.look`.
        targets: target name → back end name.
        memory: target name → bytes of memory, where known.
    """
    from edgekit.ir.model import Model

    seen = look(store, source, options, seed=0, targets=targets, must_fit=False)
    fused = seen.fused.report
    rules = tuple((each["name"], each["fired"]) for each in fused["passes"])
    return inspect_model(
        Model.load(seen.original.path),
        seen.unsupported,
        memory=memory,
        fusion=Fusion(fused["nodes_before"], fused["nodes_after"], fused["peak_bytes"], rules),
    )


def load(
    model: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    states: Mapping[str, str] | str | None = None,
) -> Model:
    """Import a model, checked against its own framework.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        input_shapes: static shapes for inputs whose file leaves sizes open.
        states: inputs that are recurrent state, each with the output that feeds it at the next step; or "none".
    """
    from edgekit.ir.model import Model

    imported = import_source(default_store(), find_model(model).path, model_section(input_shapes or {}, states), seed=0)
    return Model.load(imported.path)
