"""The stage that reads the user's data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.plain import to_json
from edgekit.core.recipe import DataSection
from edgekit.pipeline import child
from edgekit.pipeline.stages.models import SourceModel, tool_versions
from edgekit.pipeline.store import Entry, Store

__all__ = ["Data", "prepare_data", "stored_data"]


@dataclass(frozen=True)
class Data:
    """Prepared samples in the store. Those of a model with state are sequences: see `edgekit.data.unroll`.

    Attributes:
        splits: split name → number of samples; "calibration" always, "selection" and "report" where there is data,
            "training" where something is to be trained.
        labelled: whether the splits have targets.
        class_names: in label order, or empty.
        synthetic: made up, because there is no data.
        entry: holds `<split>.npz` and `<split>.labels.npz`.
    """

    splits: Mapping[str, int]
    labelled: bool
    class_names: tuple[str, ...]
    synthetic: bool
    entry: Entry

    def samples(self, split: str) -> Path:
        """The inputs of a split: arrays of samples under the model's input names."""
        return self.entry.file(f"{split}.npz")

    def targets(self, split: str) -> Path | None:
        """The targets of a split, by output name, or None without labels."""
        path = self.entry.file(f"{split}.labels.npz")
        return path if self.labelled and path.exists() else None


def prepare_data(
    store: Store, model: SourceModel, data: DataSection, *, batch: int, seed: int, training: bool = False
) -> Data:
    """Read, split and preprocess the data; without data, make up calibration samples.

    Args:
        training: whether samples are wanted to train on.
    """
    from edgekit.data.fingerprint import fingerprint

    named = {"data": data.data, "train_data": data.train, "eval_data": data.eval}
    sources = {key: value for key, value in named.items() if value}
    request: dict[str, Any] = {
        "inputs": to_json(model.inputs),
        "preprocess": to_json(data.preprocess),
        "seed": seed,
        "states": [source for source, _ in model.states],
    }
    if sources:
        request |= {"outputs": to_json(model.judged_outputs), "labelled": data.labels, "batch": batch}
        request |= {"training": True} if training else {}

    def work(folder: Path) -> Any:
        if not sources:
            function, what = "edgekit.data.materialise:synthesise", "making calibration samples"
        else:
            function, what = "edgekit.data.materialise:materialise", f"reading the data {', '.join(sources.values())}"
        return child.call(function, {**request, **sources, "out": str(folder)}, what=what, blame="your data")

    inputs = {
        **request,
        "sources": {key: fingerprint(value) for key, value in sources.items()},
        "tools": tool_versions(("pillow", "numpy")),
    }
    entry = store.make("data", "read the data" if sources else "make calibration samples", inputs, work)
    for note in entry.value["notes"]:
        events.warn(note)
    return _data(entry, synthetic=not sources)


def stored_data(store: Store, place: str, *, synthetic: bool) -> Data | None:
    """What a build prepared, by the place of its entry; None where the store has it no more."""
    entry = store.find(place)
    return _data(entry, synthetic=synthetic) if entry else None


def _data(entry: Entry, *, synthetic: bool) -> Data:
    answer = entry.value
    return Data(
        splits={name: split["n"] for name, split in answer["splits"].items()},
        labelled=answer["labelled"],
        class_names=tuple(answer["class_names"]),
        synthetic=synthetic,
        entry=entry,
    )
