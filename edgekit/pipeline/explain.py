"""What `edgekit explain` answers: about a model, what pruning could do with it and why."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.plain import from_json
from edgekit.core.recipe import ModelSection
from edgekit.core.recipe_file import model_section
from edgekit.pipeline import child
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import Store, default_store
from edgekit.pipeline.survey import look_in_child
from edgekit.pipeline.zoo import find_model
from edgekit.report.pruning import PruningExplanation, explain_model

__all__ = ["explain_imported", "explain_pruning"]


def explain_pruning(
    model: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    states: Mapping[str, str] | str | None = None,
    trust: bool = False,
    custom_objects: str | None = None,
) -> PruningExplanation:
    """Import a model (checked, and kept for the build that follows) and say which of its channels go together.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        input_shapes: static shapes for inputs whose file leaves sizes open.
        states: inputs that are recurrent state, each with the output that feeds it at the next step; or "none".
        trust: run code that the file carries (Keras Lambda layers).
        custom_objects: "module:NAME" with the classes of custom Keras layers.
    """
    options = model_section(input_shapes or {}, states, trust=trust, custom_objects=custom_objects)
    answer = look_in_child(f"{__name__}:explain_imported", default_store(), find_model(model).path, options, {})
    found: PruningExplanation = from_json(PruningExplanation, answer)
    return found


def explain_imported(store: str, source: str, options: Mapping[str, Any]) -> PruningExplanation:
    """`explain_pruning` in its child; the arguments are those of `survey.look`."""
    from edgekit.ir.model import Model
    from edgekit.passes.prune.dependencies import plain

    # As in `survey.look`: graphs are many small objects that live long.
    gc.disable()
    with child.in_process():
        imported = import_source(Store(Path(store)), Path(source), ModelSection.model_validate(options), seed=0)
    return explain_model(plain(Model.load(imported.path)))
