"""What recovery wins back of ResNet-8 at 0.5 of its MACs, beside the original recovered the same way: two tables.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.recovery results [--rows pruned-distilled …] [--seeds 0 …]

Top-1 on the 5,000 test photographs, of which recovery sees none: it trains on 18,000 of the training photographs and
compares epochs on the other 2,000. What a row took is of the CPU, both cores, without pruning; where the original
learns first, with that. Each row that is done is kept in the folder `results`, with its network, so that a run that was
interrupted goes on, and a later one adds rows. Rows are trained in their order, for the first seed, then the next.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.photographs import Array, photographs, shared_data
from edgekit.core.recipe import ModelSection
from edgekit.ir.model import Model
from edgekit.ir.run import run
from edgekit.passes.contract import apply
from edgekit.passes.factorize.factorization import Factorize
from edgekit.passes.fuse import FUSION
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.prune.schedule import Schedule
from edgekit.passes.recover.recovery import recover_model, repeatable
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import Augment, RecoverSettings
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store

LEFT = 0.5
SELECTION = 2000
CALIBRATION = 128
MULTIPLE, RANKS = 4, 8


@dataclass(frozen=True)
class Row:
    """One recovery.

    Attributes:
        title: what the table calls it.
        label_share: of the loss; None without recovery.
        pruned: or the original.
        factorized: whether ranks went, and not channels.
        compensated: whether pruning let the other channels take over.
        form: of BatchNormalization: "kept", "folded", or "re-inserted".
        schedule: of the pruning.
        first: the row whose network is pruned, and teaches, instead of the original.
        mixed: whether photographs are mixed, too, besides being flipped and shifted; for half as many epochs again.
    """

    title: str
    label_share: float | None = None
    pruned: bool = True
    factorized: bool = False
    compensated: bool = True
    form: str = "kept"
    schedule: Schedule = Schedule.CAPACITY
    first: str = ""
    mixed: bool = False


ROWS = {
    "pruned-distilled": Row("distillation, no labels", 0.0),
    "pruned-both": Row("labels and distillation", 0.25),
    "original-both": Row("labels and distillation", 0.25, pruned=False),
    "pruned-half": Row("labels and distillation, half and half", 0.5),
    "original-half": Row("labels and distillation, half and half", 0.5, pruned=False),
    "factorized-half": Row("labels and distillation, half and half", 0.5, factorized=True),
    "pruned-first": Row("distillation from the original, trained by labels", 0.0, first="original-labels", mixed=True),
    "factorized-both": Row("labels and distillation", 0.25, factorized=True),
    "factorized-first": Row(
        "distillation from the original, trained by labels", 0.0, factorized=True, first="original-labels", mixed=True
    ),
    "original-distilled": Row("distillation, no labels", 0.0, pruned=False),
    "factorized-distilled": Row("distillation, no labels", 0.0, factorized=True),
    "reinserted": Row("distillation, no labels", 0.0, form="re-inserted"),
    "folded": Row("distillation, no labels", 0.0, form="folded"),
    "pruned-labels": Row("labels", 1.0),
    "factorized-labels": Row("labels", 1.0, factorized=True),
    "original-labels": Row("labels", 1.0, pruned=False),
    "uniform-both": Row("labels and distillation, pruned uniformly", 0.25, schedule=Schedule.UNIFORM),
    "pruned": Row("no recovery"),
    "factorized": Row("no recovery", factorized=True),
    "uncompensated": Row("no recovery, no compensation", compensated=False),
    "original": Row("no recovery", pruned=False),
}


@dataclass(frozen=True)
class Result:
    """A row that is done: top-1 in points, and minutes of CPU."""

    row: str
    seed: int
    epochs: int
    top1: float
    minutes: float
    learning_rate: float = 0.0
    best: int = 0


class Case:
    """ResNet-8 with its photographs, and the networks of rows that are done, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        source = shared_data() / "mlperf_tiny_models" / "pretrainedResnet.h5"
        self.original = Model.load(import_source(default_store(), source, ModelSection(), seed=0).path)
        (spec,), (output,) = self.original.inputs, self.original.outputs
        self._input, self._output = spec.name, output.name
        self._images, self._labels = photographs("train20k")
        self.order = np.random.default_rng(1).permutation(len(self._images))

    @cached_property
    def _test(self) -> tuple[Array, Array]:
        return photographs("test5k")

    def top1(self, model: Model) -> float:
        """Points of accuracy."""
        images, labels = self._test
        fused, _ = apply(model, FUSION, 0, until_stable=True)
        answers = run(fused, {self._input: images.astype(np.float32)})[self._output]
        return 100 * float((answers.argmax(1) == labels).mean())

    def file(self, name: str, seed: int, epochs: int) -> Path:
        """Where the network of a row is kept."""
        return self._folder / f"{name}-{seed}-{epochs}.onnx"

    def student(self, row: Row, model: Model, seed: int) -> Model:
        """The network of a row before its recovery, of the one that it starts from."""
        samples = {self._input: self._images[self.order[SELECTION : SELECTION + CALIBRATION]].astype(np.float32)}
        if row.factorized:
            model, _ = apply(model, [Factorize(1 - LEFT, samples, multiple=RANKS, seed=seed)], seed)
        elif row.pruned:
            pruning = PruneChannels(
                1 - LEFT,
                Evidence(samples, {}, seed),
                measure="activations",
                schedule=row.schedule,
                multiple=MULTIPLE,
                compensated=row.compensated,
            )
            model, _ = apply(model, [pruning], seed)
        if row.form != "kept":
            model, _ = apply(model, FUSION, seed, until_stable=True)
        return model

    def samples(self, rows: Array, *, labelled: bool) -> Samples:
        """Training photographs."""
        targets = {self._output: self._labels[rows]} if labelled else {}
        pixels = (np.ones(3, np.float32), np.zeros(3, np.float32))  # ResNet-8 takes them as they are
        return Samples({self._input: self._images[rows]}, targets, {self._input: pixels})

    def result(self, name: str, seed: int, epochs: int) -> Result:
        """Do a row."""
        row = ROWS[name]
        teacher = Model.load(self.file(row.first, seed, epochs)) if row.first else self.original
        student = self.student(row, teacher, seed)
        if row.label_share is None:
            return Result(name, seed, 0, self.top1(student), 0.0)
        labelled = row.label_share > 0 or bool(row.first)
        selection, train = (
            self.samples(rows, labelled=labelled) for rows in (self.order[:SELECTION], self.order[SELECTION:])
        )
        settings = RecoverSettings(
            epochs=epochs * 3 // 2 if row.mixed else epochs,
            seed=seed,
            label_share=row.label_share,
            augment=(Augment.FLIP, Augment.SHIFT, Augment.MIXUP) if row.mixed else None,
            reinsert=row.form == "re-inserted",
        )
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            model, curve = recover_model(student, teacher, train, selection, settings=settings, workdir=Path(folder))
        model.save(self.file(name, seed, epochs))
        minutes = (time.process_time() - begun) / 60
        return Result(name, seed, len(curve.epochs), self.top1(model), minutes, curve.learning_rate, curve.best)


def main() -> None:
    """Do what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where results are kept")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / f"{asked.epochs}-epochs.jsonl"
    results = [Result(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(result.row, result.seed) for result in results}
    names = list(dict.fromkeys(each for name in asked.rows for each in (ROWS[name].first, name) if each))
    missing = [(name, seed) for seed in asked.seeds for name in names if (name, seed) not in done]
    if missing:
        repeatable()
        case = Case(asked.folder)
    for name, seed in missing:
        results.append(case.result(name, seed, asked.epochs))
        with kept.open("a") as stream:
            stream.write(json.dumps(asdict(results[-1])) + "\n")
        print(results[-1], file=sys.stderr)
    show(results)


def show(results: Sequence[Result]) -> None:
    """Print what is known: a figure a seed, in their order."""

    def cells(name: str) -> str:
        found = sorted((each for each in results if each.row == name), key=lambda each: each.seed)
        if not found:
            return "| | "
        figures = ", ".join(f"{each.top1:.2f}" for each in found)
        firsts = [each.minutes for each in results if each.row == ROWS[name].first]
        minutes = statistics.mean(each.minutes for each in found) + (statistics.mean(firsts) if firsts else 0.0)
        return f"| {figures} | {f'{minutes:.1f}' if minutes else ''} "

    print(
        "| recovery | without channels | min of CPU | factorized | min of CPU | the original, likewise | min of CPU |"
    )
    print("|---|---|---|---|---|---|---|")
    for pruned, factorized, original in (
        ("uncompensated", "", ""), ("pruned", "factorized", "original"),
        ("pruned-distilled", "factorized-distilled", "original-distilled"),
        ("pruned-labels", "factorized-labels", "original-labels"), ("uniform-both", "", ""),
        ("pruned-both", "factorized-both", "original-both"), ("pruned-half", "factorized-half", "original-half"),
        ("pruned-first", "factorized-first", ""),
    ):  # fmt: skip
        print(f"| {ROWS[pruned].title} {cells(pruned)}{cells(factorized)}{cells(original)}|")
    print("\n| BatchNormalization, without labels | at 0.5 of the MACs | min of CPU |")
    print("|---|---|---|")
    for name in ("pruned-distilled", "reinserted", "folded"):
        print(f"| {ROWS[name].form} {cells(name)}|")


if __name__ == "__main__":
    main()
