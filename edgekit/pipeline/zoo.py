"""What MODEL means on the command line: a path, or a model of the zoo, which brings its recipe and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import InvalidInputError
from edgekit.core.recipe_file import load_recipe
from edgekit.core.resources import resource
from edgekit.formats.detection import READABLE

__all__ = ["NamedModel", "find_model"]


@dataclass(frozen=True)
class NamedModel:
    """A model that was named.

    Attributes:
        name: what the output folder is called after.
        path: the model file, or the folder of a SavedModel.
        recipe: the recipe that comes with a model of the zoo, or None.
    """

    name: str
    path: Path
    recipe: Path | None


def find_model(name: str) -> NamedModel:
    """The model that `name` means; what exists at that path goes before the zoo.

    Raises:
        InvalidInputError: neither a path nor a model of the zoo.
    """
    path, zoo = Path(name), resource("models")
    recipe = zoo / name / "edgekit.toml"
    ours = "/" not in name and recipe.is_file()
    # A folder called like a model of the zoo is most likely what a build of it left here.
    if path.exists() and not (ours and path.is_dir() and not (path / "saved_model.pb").exists()):
        return NamedModel(path.resolve().name if path.is_dir() else path.stem, path, None)
    if ours:
        file = load_recipe(recipe, {}).model.path
        assert file is not None, f"{recipe} names no model"
        return NamedModel(name, file, recipe)
    known = sorted(file.parent.name for file in zoo.glob("*/edgekit.toml"))
    raise InvalidInputError(
        f"{name} is neither a file nor a model of the zoo ({', '.join(known)})",
        blame="the command line",
        remedy=f"Give the path of a {READABLE}, or try: edgekit build digits-cnn --target raspberry-pi-5",
    )
