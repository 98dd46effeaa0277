"""What each importance keeps of a model's accuracy, with and without compensation, before any training: a table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.pruning_importance [ratio …]

ResNet-8 and digits-cnn, pruned to 1 − ratio of their MACs; top-1 on the report split (at most 1,000 samples, ± 3
points) and the drop against the dense model, in points. The 128 calibration samples are the build's own. Random is the
mean of three seeds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import prepare
from edgekit.core.recipe import DataSection, ModelSection
from edgekit.core.recipe_file import load_recipe
from edgekit.ir.model import Model
from edgekit.ir.run import run
from edgekit.passes.prune.compensation import compensate
from edgekit.passes.prune.dependencies import Dependencies, analyse
from edgekit.passes.prune.importance import Evidence, importance, importances
from edgekit.passes.prune.removal import remove_channels
from edgekit.passes.prune.schedule import Schedule, choose
from edgekit.pipeline.stages import import_source, prepare_data
from edgekit.pipeline.store import default_store
from edgekit.pipeline.zoo import find_model

RATIOS = (0.25, 0.5)
SAMPLES = 128
REPORT = 1000
SEEDS = 3


@dataclass(frozen=True)
class Case:
    """A model with its channels, its calibration samples, and what it is judged on."""

    model: Model
    dependencies: Dependencies
    evidence: Evidence
    samples: Mapping[str, np.ndarray[Any, Any]]
    labels: np.ndarray[Any, Any]

    def top1(self, model: Model) -> float:
        """Points of accuracy on the report split."""
        answers = next(iter(run(model, self.samples).values()))
        return 100 * float((answers.argmax(axis=1) == self.labels).mean())


def main() -> None:
    """Print the table."""
    ratios = [float(text) for text in sys.argv[1:]] or RATIOS
    print("| model | MACs left | schedule | importance | top-1 | drop | compensated | drop |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, case in cases(Path(folder)):
            dense = case.top1(case.model)
            for ratio in ratios:
                for schedule in Schedule:
                    for measure in importances():
                        plain, compensated = pruned(case, measure, ratio, schedule)
                        cells = (
                            f"{name} ({dense:.1f})", f"{1 - ratio:.2f}", schedule, measure, f"{plain:.1f}",
                            f"{dense - plain:.1f}", f"{compensated:.1f}", f"{dense - compensated:.1f}",
                        )  # fmt: skip
                        print("|", " | ".join(cells), "|", flush=True)


def cases(folder: Path) -> Iterator[tuple[str, Case]]:
    """The models by name."""
    path, data = prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), folder)["ResNet-8"]
    yield "ResNet-8", case(path, ModelSection(), DataSection.model_validate(data))
    named = find_model("digits-cnn")
    recipe = load_recipe(named.recipe, {})
    yield "digits-cnn", case(named.path, recipe.model, recipe.data)


def case(path: Path, options: ModelSection, data: DataSection) -> Case:
    """Imported and split as a build does it."""
    store = default_store()
    source = import_source(store, path, options, seed=0)
    prepared = prepare_data(store, source, data, batch=1, seed=0)
    model = Model.load(source.path)
    calibration = {name: array[:SAMPLES] for name, array in np.load(prepared.samples("calibration")).items()}
    targets = prepared.targets("report")
    assert targets is not None
    labels = next(iter(np.load(targets).values()))
    # Spread over the split: its classes may come in order.
    chosen = np.linspace(0, len(labels) - 1, min(REPORT, len(labels))).astype(int)
    samples = {name: array[chosen] for name, array in np.load(prepared.samples("report")).items()}
    return Case(model, analyse(model), Evidence(calibration), samples, labels[chosen])


def pruned(case: Case, measure: str, ratio: float, schedule: Schedule) -> tuple[float, float]:
    """Top-1 without and with compensation."""
    found = []
    for seed in range(SEEDS if measure == "random" else 1):
        evidence = Evidence(case.evidence.samples, seed=seed)
        scores = importance(measure)(case.model, case.dependencies, evidence)
        choice = choose(case.model, case.dependencies, scores, ratio, schedule=schedule)
        smaller = remove_channels(case.model, case.dependencies, choice.removed)
        plain = case.top1(smaller)
        compensate(case.model, smaller, case.dependencies, choice.removed, evidence.samples)
        found.append((plain, case.top1(smaller)))
    plain, compensated = np.mean(found, axis=0)
    return float(plain), float(compensated)


if __name__ == "__main__":
    main()
