"""A model in hand, and what `edgekit inspect` answers: its layers, and what each target can't take of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.backends.base import load_backend
from edgekit.core.recipe import ModelSection
from edgekit.ir.model import Model
from edgekit.pipeline.stages import SourceModel, import_source
from edgekit.pipeline.store import default_store
from edgekit.pipeline.targets import load_target
from edgekit.pipeline.zoo import find_model
from edgekit.report.inspection import Inspection, inspect_model

__all__ = ["inspect", "load"]


def inspect(
    model: str, targets: Sequence[str] = (), *, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> Inspection:
    """Import a model (checked, and kept for the build that follows) and look at it; nothing is converted.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        targets: names of targets, or paths of target files, to hold it against.
        input_shapes: static shapes for inputs whose file leaves sizes open.
    """
    wanted = [load_target(name) for name in targets]
    imported = _import(model, input_shapes)
    unsupported = {target.name: load_backend(target.backend).unsupported(imported.path) for target in wanted}
    return inspect_model(Model.load(imported.path), unsupported)


def load(model: str, *, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """Import a model, checked against its own framework.

    Args:
        model: path of a model file, or the name of a model of the zoo.
        input_shapes: static shapes for inputs whose file leaves sizes open.
    """
    return Model.load(_import(model, input_shapes).path)


def _import(model: str, input_shapes: Mapping[str, Sequence[int]] | None) -> SourceModel:
    options = ModelSection(input_shapes={name: tuple(shape) for name, shape in (input_shapes or {}).items()})
    return import_source(default_store(), find_model(model).path, options, seed=0)
