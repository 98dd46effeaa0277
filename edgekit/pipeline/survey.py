"""The look at a model that goes before all work on it: imported, fused, and held against each target, in one child.

What a target takes is asked of the fused model, because that is what will be compiled. A model that no target takes is
refused before anything runs it.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.backends.base import load_backend
from edgekit.core.errors import UnsupportedOpError
from edgekit.core.plain import from_json
from edgekit.core.recipe import ModelSection
from edgekit.pipeline import child
from edgekit.pipeline.stages import SourceModel, fuse, import_source
from edgekit.pipeline.store import Store

__all__ = ["Survey", "look", "look_in_child", "refuse_early", "survey"]

_NAMED = 5


@dataclass(frozen=True)
class Survey:
    """A model that was looked at.

    Attributes:
        original: as it was imported.
        fused: what will be compiled.
        unsupported: for each target by name what it can't take: (layer, op type, remedy) each.
    """

    original: SourceModel
    fused: SourceModel
    unsupported: Mapping[str, Sequence[tuple[str, str, str]]]

    def refusal(self, target: str) -> UnsupportedOpError | None:
        """Why `target` can't take the model, or None where it can."""
        return _refusal(target, self.unsupported[target])


def survey(store: Store, source: Path, options: ModelSection, seed: int, targets: Mapping[str, str]) -> Survey:
    """Import and fuse the model file `source`, and ask the back end of each target what it can't take.

    Args:
        store: keeps the imported and the fused model.
        source: the model file.
        options: what the user says about it.
        seed: of the inputs on which the import is checked.
        targets: target name → back end name.

    Raises:
        UnsupportedOpError: a Model can't hold the network, or no target takes it; names layer, op and remedy.
        InvalidInputError: the file, or an argument about it, is not valid.
    """
    arguments = {"seed": seed, "targets": targets, "must_fit": True}
    found: Survey = from_json(Survey, look_in_child(f"{__name__}:look", store, source, options, arguments))
    return found


def look_in_child(
    function: str, store: Store, source: Path, options: ModelSection, arguments: Mapping[str, Any]
) -> Any:
    """Call `function`, which is `look` or begins with it, in a child process; what a killed one leaves is removed."""
    try:
        return child.call(
            function,
            {"store": store.root, "source": source, "options": options.model_dump(mode="json"), **arguments},
            what=f"importing {source.name}",
            blame="your model",
        )
    finally:
        store.sweep()


def look(
    store: str, source: str, options: Mapping[str, Any], seed: int, targets: Mapping[str, str], *, must_fit: bool
) -> Survey:
    """`survey` in its child. One process for it all: each stage alone would wait a second for the onnx packages.

    Args:
        must_fit: whether a model that no target takes is an error; for the others see `survey`.
    """
    # Graphs are many small objects that live long: looking for garbage among them costs a seventh of the time.
    gc.disable()
    home = Store(Path(store))
    needed = targets if must_fit else {}
    with child.in_process():
        original = import_source(home, Path(source), ModelSection.model_validate(options), seed, needed_by=needed)
        fused = fuse(home, original, seed)
    found = Survey(original, fused, _unsupported(fused.path, targets))
    _require_taker(needed, found.unsupported)
    return found


def refuse_early(model: Path, targets: Mapping[str, str], seed: int) -> None:
    """Refuse a Model that no target takes, not even when it is fused. Runs it at most for the checks of fusion.

    Args:
        model: the Model's file.
        targets: target name → back end name.
        seed: of fusion's checks.

    Raises:
        UnsupportedOpError: names layer, op and remedy.
    """
    if not targets or not all(_unsupported(model, targets).values()):
        return
    from edgekit.passes.fuse.stage import fuse_model

    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        fuse_model(str(model), folder, seed)
        _require_taker(targets, _unsupported(Path(folder, "model.onnx"), targets))


def _unsupported(model: Path, targets: Mapping[str, str]) -> dict[str, list[tuple[str, str, str]]]:
    by_backend = {name: load_backend(name).unsupported(model) for name in set(targets.values())}
    return {target: by_backend[backend] for target, backend in targets.items()}


def _require_taker(targets: Mapping[str, str], unsupported: Mapping[str, Sequence[tuple[str, str, str]]]) -> None:
    refusals = [_refusal(target, unsupported[target]) for target in targets]
    if refusals and (first := refusals[0]) and all(refusals):
        raise first


def _refusal(target: str, rows: Sequence[tuple[str, str, str]]) -> UnsupportedOpError | None:
    if not rows:
        return None
    layer, op, remedy = rows[0]
    others = ", ".join(f"{name} ({kind})" for name, kind, _ in rows[1:_NAMED])
    more = f"; nor {others}" if others else ""
    more += f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return UnsupportedOpError(
        f"{target} can't take the layer {layer}: its operator {op} is not supported{more}",
        blame="your model on this target",
        remedy=remedy,
    )
