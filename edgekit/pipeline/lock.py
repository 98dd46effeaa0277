"""`edgekit.lock`: the choices that came from measurements, so that the next build of the same thing repeats them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.core.errors import InvalidInputError
from edgekit.core.plain import from_json, to_json
from edgekit.core.repair import Repair
from edgekit.core.types import Precision, QuantPlan

__all__ = ["LOCK_NAME", "Choice", "Lock", "PruningChoice", "RepairChoice", "TrainingChoice"]

LOCK_NAME = "edgekit.lock"
_SCHEMA = 1


@dataclass(frozen=True)
class Choice:
    """A measured choice for one target.

    Attributes:
        inputs: digest of everything that the choice depended on; another digest voids it.
        precision: what was chosen.
        layers: of a mixed one the layers that are not int8, and what they are.
        candidates: what was weighed, for people: one row a precision.
    """

    inputs: str
    precision: Precision
    candidates: tuple[Mapping[str, Any], ...] = ()
    layers: tuple[tuple[str, Precision], ...] = ()

    @property
    def plan(self) -> QuantPlan:
        """What to compile."""
        return QuantPlan(Precision.INT8 if self.precision is Precision.MIXED else self.precision, self.layers)


@dataclass(frozen=True)
class RepairChoice:
    """What is done to a network before it is made int8, for one target.

    Attributes:
        inputs: digest of everything that the choice depended on; another digest voids it.
        repair: what was chosen.
        tried: for people: each repair with what int8 then answered on the selection split.
    """

    inputs: str
    repair: Repair
    tried: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class PruningChoice:
    """How many channels stay, for one target.

    Attributes:
        inputs: digest of everything that the choice depended on; another digest voids it.
        kept: of each pruning step how many channels of each group stay, in the order of the groups.
        multiple: what these counts are multiples of, at least.
        groups: for people: name, kept and channels before of each group that lost some. Where ranks went, not channels,
            layers are the groups.
        predicted: how many times as fast the layers' own times say that it is; None where no speed-up was asked for.
    """

    inputs: str
    kept: tuple[tuple[int, ...], ...]
    multiple: int
    groups: tuple[Mapping[str, Any], ...] = ()
    predicted: float | None = None


@dataclass(frozen=True)
class TrainingChoice:
    """How long trainings last, for one target: a clock may have had a say in it.

    Attributes:
        inputs: digest of everything that the choice depended on; another digest voids it.
        epochs: of each training.
    """

    inputs: str
    epochs: tuple[int, ...]


@dataclass
class Lock:
    """The choices of one output folder, by target."""

    choices: dict[str, Choice] = field(default_factory=dict)
    pruning: dict[str, PruningChoice] = field(default_factory=dict)
    training: dict[str, TrainingChoice] = field(default_factory=dict)
    repairs: dict[str, RepairChoice] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Lock:
        """The lock in `folder`; an empty one where there is none.

        Raises:
            InvalidInputError: the file is not a lock of ours.
        """
        path = folder / LOCK_NAME
        if not path.exists():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = content["choices"].items()
            choices = {
                target: replace(from_json(Choice, {**row, "candidates": ()}), candidates=tuple(row["candidates"]))
                for target, row in rows
            }
            pruning = {target: from_json(PruningChoice, row) for target, row in content.get("pruning", {}).items()}
            training = {target: from_json(TrainingChoice, row) for target, row in content.get("training", {}).items()}
            repairs = {
                target: replace(from_json(RepairChoice, {**row, "tried": ()}), tried=tuple(row["tried"]))
                for target, row in content.get("repairs", {}).items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{path} is not a lock that edgekit wrote: {error}",
                blame="your output folder",
                remedy=f"Remove it and build again; the choices are then measured anew: rm {path}",
            ) from error
        return cls(choices, pruning, training, repairs)

    def save(self, folder: Path) -> None:
        """Write the lock in one step."""
        content = {"schema_version": _SCHEMA, "choices": to_json(dict(sorted(self.choices.items())))}
        if self.pruning:
            content["pruning"] = to_json(dict(sorted(self.pruning.items())))
        if self.repairs:
            content["repairs"] = to_json(dict(sorted(self.repairs.items())))
        if self.training:
            content["training"] = to_json(dict(sorted(self.training.items())))
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".edgekit-{LOCK_NAME}"
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / LOCK_NAME)
