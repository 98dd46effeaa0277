"""What MODEL means on the command line: a file, or a model of the zoo, which brings its recipe and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import InvalidInputError
from edgekit.core.recipe import load_recipe
from edgekit.core.resources import resource

__all__ = ["NamedModel", "find_model"]


@dataclass(frozen=True)
class NamedModel:
    """A model that was named.

    Attributes:
        name: what the output folder is called after.
        path: the model file.
        recipe: the recipe that comes with a model of the zoo, or None.
    """

    name: str
    path: Path
    recipe: Path | None


def find_model(name: str) -> NamedModel:
    """The model that `name` means; an existing path goes before the zoo.

    Raises:
        InvalidInputError: neither a path nor a model of the zoo.
    """
    path = Path(name)
    if path.exists():
        return NamedModel(path.stem, path, None)
    zoo = resource("models")
    recipe = zoo / name / "edgekit.toml"
    if "/" not in name and recipe.is_file():
        file = load_recipe(recipe, {}).model.path
        assert file is not None, f"{recipe} names no model"
        return NamedModel(name, file, recipe)
    known = sorted(file.parent.name for file in zoo.glob("*/edgekit.toml"))
    raise InvalidInputError(
        f"{name} is neither a file nor a model of the zoo ({', '.join(known)})",
        blame="the command line",
        remedy="Give the path of a .keras, .h5 or .onnx file, or try: edgekit build digits-cnn --target raspberry-pi-5",
    )
