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
    """The model that `name` means; an existing file goes before the zoo.

    Raises:
        InvalidInputError: neither a path nor a model of the zoo.
    """
    path, zoo = Path(name), resource("models")
    recipe = zoo / name / "edgekit.toml"
    ours = "/" not in name and recipe.is_file()
    # A folder called like a model of the zoo is most likely what a build of it left here.
    if path.exists() and not (ours and path.is_dir()):
        return NamedModel(path.stem, path, None)
    if ours:
        file = load_recipe(recipe, {}).model.path
        assert file is not None, f"{recipe} names no model"
        return NamedModel(name, file, recipe)
    known = sorted(file.parent.name for file in zoo.glob("*/edgekit.toml"))
    raise InvalidInputError(
        f"{name} is neither a file nor a model of the zoo ({', '.join(known)})",
        blame="the command line",
        remedy="Give the path of a .keras, .h5 or .onnx file, or try: edgekit build digits-cnn --target raspberry-pi-5",
    )
