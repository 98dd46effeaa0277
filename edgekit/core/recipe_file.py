"""A recipe from where it is written: a file, a recipe that ships with edgekit, flags; and what is wrong with them.

Flags win over the file, and the file over a shipped recipe. Paths in a file are relative to that file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.recipe import ModelSection, Recipe
from edgekit.core.resources import resource
from edgekit.core.types import Precision

__all__ = ["COMPRESSIONS", "compression", "load_recipe", "model_section"]

# The recipes that ship with edgekit, from the one that takes least.
COMPRESSIONS = ("light", "balanced", "extreme")
_FLAGS = "See the flags and their choices with: edgekit build --help"
_TEMPLATE = "edgekit init MODEL writes a recipe with every key, its meaning and its choices."


def compression(name: str) -> dict[str, dict[str, Any]]:
    """What a recipe that ships with edgekit says, by its name: section → key → value.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in COMPRESSIONS:
        raise UsageError(
            f"--compress {name} is none of {', '.join(COMPRESSIONS)}",
            blame="the command line",
            remedy="Take one of them; each is a recipe that can be copied and edited: --config FILE",
        )
    return _read(resource(f"recipes/{name}.toml"))


def load_recipe(file: Path | None, flags: Mapping[str, Mapping[str, Any]], *, compress: str | None = None) -> Recipe:
    """The recipe in `file`, over the one that `compress` names, overridden by `flags`.

    Args:
        file: a TOML file, or None.
        flags: section → key → value; None means not given.
        compress: the name of a recipe that ships with edgekit, or None.

    Raises:
        InvalidInputError: the file can't be read or says something that is not in the schema.
        UsageError: the flags contradict each other or the file.
    """
    content = _read(file) if file else {}
    _validate(content, InvalidInputError, f"the recipe {file}", "your recipe")
    if compress is not None:
        content = _over(compression(compress), content)
    given = {section: {k: v for k, v in keys.items() if v is not None} for section, keys in flags.items()}
    return _validate(_over(content, given), UsageError, "", "the command line")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What two recipes say together; the one above wins, and what it replaces goes."""
    below = {section: dict(keys) for section, keys in below.items()}
    gone: dict[str, set[str]] = {}
    if any(above.get("data", {}).get(key) for key in ("data", "train", "none")):
        # A source replaces the one below, whichever way that was given.
        gone["data"] = {"data", "train", "eval", "none"}
    amount = above.get("shrink", {}).keys() & {"prune", "speedup"}
    if amount:
        # So does what says how much is pruned; and a speed-up has no schedule.
        gone["shrink"] = {"prune", "speedup", *(["schedule"] if "speedup" in amount else [])}
    kept = {name: {k: v for k, v in keys.items() if k not in gone.get(name, ())} for name, keys in below.items()}
    return {name: {**kept.get(name, {}), **above.get(name, {})} for name in {*below, *above}}


def model_section(
    input_shapes: Mapping[str, Sequence[int]],
    states: Mapping[str, str] | str | None = None,
    *,
    trust: bool = False,
    custom_objects: str | None = None,
) -> ModelSection:
    """What a verb without a recipe knows of a model's file.

    Raises:
        UsageError: sizes or pairs that can't be.
    """
    content = {
        "model": {
            "input_shapes": input_shapes,
            "states": states or {},
            "trust": trust,
            "custom_objects": custom_objects,
        }
    }
    return _validate(content, UsageError, "", "the command line").model


def _read(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(
            f"the recipe {file} can't be read: {error}",
            blame="your recipe",
            remedy="Write a fresh one with: edgekit init MODEL",
        ) from error
    for section, keys in (("model", ("path",)), ("data", ("data", "train", "eval")), ("run", ("boards",))):
        table = content.get(section)
        for key in keys:
            value = table.get(key) if isinstance(table, dict) else None
            if isinstance(value, str) and (file.parent / value).exists():
                table[key] = str(file.parent / value)  # type: ignore[index]
    return content


def _validate(
    content: Mapping[str, Any], error_class: type[InvalidInputError | UsageError], what: str, blame: str
) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        cause, remedy = _explain(error.errors()[0], content, as_flags=error_class is UsageError)
        raise error_class(f"{what}: {cause}" if what else cause, blame=blame, remedy=remedy) from error


def _explain(problem: Any, content: Mapping[str, Any], *, as_flags: bool) -> tuple[str, str]:
    """What is wrong, and what would be right, in words that need no knowledge of the schema."""
    keys = [str(part) for part in problem["loc"][:2]]
    place, message = ".".join(keys), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return _unknown(keys)
    if not isinstance(content.get(keys[0], {}) if keys else {}, Mapping):
        return f"{place} is a section, not a key", f"Write its keys below a line of its own: [{place}]"
    if len(keys) < 2:
        # A rule about several keys of a section says by itself what to do.
        return message, _FLAGS if as_flags else _TEMPLATE
    value = content[keys[0]].get(keys[1])
    flag = "--" + keys[1].replace("_", "-").replace("shapes", "shape").replace("states", "state")
    given = f"{flag} {value}" if as_flags else f"{place} = {value!r}"
    if place == "precision.precision":
        return f"{given} is no precision that edgekit makes", f"Take one of: auto, {', '.join(Precision)}"
    expected = message.removeprefix("Input should be ")
    cause = f"{given} should be {expected}" if expected != message else f"{flag if as_flags else place}: {message}"
    return cause, _FLAGS if as_flags else _TEMPLATE


def _unknown(keys: list[str]) -> tuple[str, str]:
    sections = Recipe.model_fields
    section: Any = sections[keys[0]].annotation if len(keys) > 1 else Recipe
    known = list(section.model_fields)
    close = difflib.get_close_matches(keys[-1], known, n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    if len(keys) > 1:
        return f"there is no key {'.'.join(keys)}", f"{meant}[{keys[0]}] takes {', '.join(known)}."
    return f"there is no section [{keys[0]}]", f"{meant}A recipe has {', '.join(known)}."
