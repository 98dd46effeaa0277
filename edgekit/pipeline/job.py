"""What all targets of a build share: the model, the data, and the original model's answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.recipe import Recipe
from edgekit.data import unroll
from edgekit.pipeline.measure import Arrays, Samples, load_arrays, run_reference
from edgekit.pipeline.stages import Data, Lesson, SourceModel
from edgekit.pipeline.store import Entry, Store

__all__ = ["Job", "whole"]

_GOLDEN_SAMPLES = 8
_GOLDEN_SEQUENCES, _GOLDEN_STEPS = 4, 8
_CALIBRATION_STEPS, _SELECTION_STEPS, _TRAINING_STEPS = 1024, 2048, 1 << 16


@dataclass(frozen=True)
class Job:
    """What all targets of a build share.

    Attributes:
        original: the imported model, which every accuracy is held against.
        plain: it, with fewer nodes.
        fused: that, with its channels in line: what is compiled, unless it is pruned, trained or thinned
            out first.
    """

    store: Store
    recipe: Recipe
    original: SourceModel
    plain: SourceModel
    fused: SourceModel
    data: Data

    def samples(self, split: str) -> Samples:
        """The inputs of a split, or of an excerpt of one."""
        key = f"{self.data.entry.key}/{split}"
        if split == whole(split):
            return Samples(self.data.samples(split), key)

        def work(folder: Path) -> Any:
            chosen = self._chosen(split, load_arrays(self.data.samples(whole(split))))
            np.savez(folder / "samples.npz", **chosen)  # type: ignore[arg-type]

        inputs = {"samples": key, "seed": self.recipe.run.seed}
        entry = self.store.make("excerpt", "", inputs, work, quiet=True)
        return Samples(entry.file("samples.npz"), entry.key)

    def excerpt(self, split: str, most: int) -> str:
        """The name of a split of at most `most` samples of this one, drawn with the seed."""
        return f"{split}/{most}" if self.data.splits[split] > most else split

    def _chosen(self, split: str, arrays: Arrays) -> Arrays:
        """Of a whole split's arrays what an excerpt has."""
        if split == whole(split):
            return arrays
        random = np.random.default_rng(self.recipe.run.seed)
        rows = np.sort(random.permutation(self.data.splits[whole(split)])[: int(split.partition("/")[2])])
        return {name: values[rows] for name, values in arrays.items()}

    @cached_property
    def golden(self) -> Samples:
        """A few samples that every artifact must answer rightly, now and on the device; short sequences of a stream."""
        states = self.original.states
        most = _GOLDEN_SEQUENCES if states else _GOLDEN_SAMPLES
        split = "report" if "report" in self.data.splits else "calibration"

        def work(folder: Path) -> Any:
            samples = load_arrays(self.data.samples(split))
            np.savez(folder / "golden.npz", **unroll.excerpt(samples, states, most=most, steps=_GOLDEN_STEPS))  # type: ignore[arg-type]

        inputs = {"data": self.data.entry.key, "split": split, "n": [most, _GOLDEN_STEPS]}
        entry = self.store.make("golden", "", inputs, work, quiet=True)
        return Samples(entry.file("golden.npz"), entry.key)

    @cached_property
    def calibration(self) -> Path:
        """Single samples to calibrate on; of sequences, steps with the states that the original model came to."""
        if not self.original.states:
            return self.data.samples("calibration")
        return self._single_steps("calibration", _CALIBRATION_STEPS).file("calibration.npz")

    @cached_property
    def lesson(self) -> Lesson:
        """What a training learns from; of sequences, single steps without their labels: the original teaches them."""
        if not self.original.states:
            splits, data = self.data.entry.value["splits"], self.data
            digests = tuple(splits[name]["digest"] for name in ("training", "selection"))
            return Lesson(data.entry.file("training"), data.samples("selection"), data.targets("selection"), digests)
        training, selection = self._single_steps("training", _TRAINING_STEPS), self._selection_steps
        files = training.file("training.npz"), selection.file("selection.npz")
        return Lesson(*files, None, (training.key, selection.key))

    @property
    def judging(self) -> tuple[Path, Path | None]:
        """Single samples of the selection split, and their labels if there are any: see `lesson`."""
        if not self.original.states:
            return self.data.samples("selection"), self.data.targets("selection")
        return self._selection_steps.file("selection.npz"), None

    @cached_property
    def _selection_steps(self) -> Entry:
        return self._single_steps("selection", _SELECTION_STEPS)

    def _single_steps(self, split: str, most: int) -> Entry:
        """Steps of the sequences of a split, with the states that the original model came to, in `<split>.npz`."""

        def work(folder: Path) -> Any:
            steps = unroll.single_steps(
                load_arrays(self.data.samples(split)),
                load_arrays(run_reference(self.store, self.original, self.samples(split), title)),
                self.original.states,
                most=most,
                seed=self.recipe.run.seed,
            )
            np.savez(folder / f"{split}.npz", **steps)  # type: ignore[arg-type]

        title = f"run the original model · {split}"
        inputs = {
            "model": self.original.digest,
            "states": self.original.states,
            "data": self.data.entry.key,
            "split": split,
            "most": most,
            "seed": self.recipe.run.seed,
        }
        return self.store.make("steps", "", inputs, work, quiet=True)

    @cached_property
    def golden_reference(self) -> Arrays:
        """The original model's answers to the golden samples."""
        title = "run the original model · golden"
        return load_arrays(run_reference(self.store, self.original, self.golden, title))

    def float_golden(self, model: SourceModel) -> Arrays:
        """What a float artifact of `model` must answer to them.

        Of a quantized source the float network does not round; a smaller one answers what it does.
        """
        if model is self.fused and self.original.quantized is None:
            return self.golden_reference
        what = "float" if model is self.fused else "smaller"
        return load_arrays(run_reference(self.store, model, self.golden, f"run the {what} model · golden"))

    def reference(self, split: str) -> Arrays:
        """The original model's answers on a split, as metrics take them."""
        name = whole(split)
        if name not in self._references:
            title = f"run the original model · {name}"
            self._references[name] = run_reference(self.store, self.original, self.samples(name), title)
        return self.judged(self._chosen(split, load_arrays(self._references[name])), split)

    def judged(self, answers: Arrays, split: str) -> Arrays:
        """Answers on a split, as metrics take them: one row a target."""
        return unroll.judged(answers, self.targets(split), self.original.states)

    @cached_property
    def _references(self) -> dict[str, Path]:
        """The files that hold them: a detector's answers are too large to keep."""
        return {}

    def targets(self, split: str) -> Arrays | None:
        """The truth of a split, by output name; None without labels."""
        path = self.data.targets(whole(split))
        return self._chosen(split, load_arrays(path)) if path else None


def whole(split: str) -> str:
    """The name of the split that an excerpt, "report/1000", was taken from."""
    return split.partition("/")[0]
