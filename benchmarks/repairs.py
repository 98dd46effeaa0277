"""Each repair alone and all at once, for each model on each back end, as a markdown table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python benchmarks/repairs.py [MODEL ...]

The first row of each model on a back end is what its own quantizer makes. Figures are of the report split.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.models import prepare, row
from edgekit.backends.base import load_backend
from edgekit.core.errors import EdgekitError
from edgekit.core.recipe import Recipe
from edgekit.core.repair import PLAIN, Repair
from edgekit.core.types import Metric, Precision, QuantPlan
from edgekit.pipeline.equalise import equalised
from edgekit.pipeline.job import Job
from edgekit.pipeline.stages import prepare_data
from edgekit.pipeline.store import default_store
from edgekit.pipeline.survey import survey
from edgekit.pipeline.targets import load_target
from edgekit.pipeline.trial import TargetJob

TARGETS = {"tflite": "raspberry-pi-4", "openvino": "intel-cpu", "onnxruntime": "intel-cpu"}
REPAIRS = (
    PLAIN,
    Repair("percentile"),
    Repair("mse"),
    Repair("entropy"),
    Repair(bias_correction=True),
    Repair(rounding="adaptive"),
    Repair("percentile", "adaptive", bias_correction=True),
    Repair("mse", "adaptive", bias_correction=True),
)
SHOWN = {"top1", "agreement", "box_agreement", "logits_sqnr", "sqnr"}
_INT8 = QuantPlan(Precision.INT8)


def main() -> None:
    """Print the table."""
    print("| model | back end | repair | metric | float → int8 | interval of the drop | n | bytes |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        models = prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), Path(folder))
        for name in sys.argv[1:] or models:
            path, data = models[name]
            job = prepared(path, Recipe.model_validate({"data": data}))
            for backend, target in TARGETS.items():
                for repair in REPAIRS:
                    one = TargetJob(job, load_target(target), load_backend(backend), repair=repair)
                    for cells in rows(one):
                        print("|", " | ".join((name, backend, str(repair), cells)), "|", flush=True)


def prepared(path: Path, recipe: Recipe) -> Job:
    """The model, fused and with its channels in line, and its data: as a build has them."""
    store = default_store()
    seen = survey(store, path, recipe.model, recipe.run.seed, {"raspberry-pi-4": "tflite"})
    data = prepare_data(store, seen.original, recipe.data, batch=1, seed=recipe.run.seed)
    job = Job(store, recipe, seen.original, seen.fused, seen.fused, data)
    return replace(job, fused=equalised(job, seen.fused))


def rows(target: TargetJob) -> Iterator[str]:
    """The cells of each figure of a repaired network in int8."""
    try:
        trial = target.attempt(_INT8)
    except EdgekitError as error:
        yield f"{error.cause} | | | |"
        return
    for metric in (each for each in target.show(trial).judgement.metrics if is_shown(each)):
        yield f"{row(metric)} | {trial.artifact.size:,}"


def is_shown(metric: Metric) -> bool:
    """Whether a figure is in the table."""
    return metric.name.partition(":")[0] in SHOWN


if __name__ == "__main__":
    main()
