"""Is the float model any good on this data? If not, its preprocessing is wrong, and nothing after it means anything."""

from __future__ import annotations

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.data.chance import near_chance
from edgekit.pipeline import child
from edgekit.pipeline.job import Job

__all__ = ["check_baseline"]


def check_baseline(job: Job) -> None:
    """Refuse a float model that classifies the report split no better than by chance.

    Raises:
        InvalidInputError: it does; names the preprocessing under which the model works, if one does.
    """
    targets = job.targets("report") if "report" in job.data.splits else None
    for name, labels in (targets or {}).items():
        if labels.dtype.kind == "i" and near_chance(answers := job.reference("report")[name], labels):
            accuracy = 100 * float(np.mean(answers.reshape(len(labels), -1).argmax(axis=1) == labels))
            raise InvalidInputError(
                f"the float model is right on {accuracy:.1f} % of {len(labels)} samples, which is chance:"
                " the data doesn't reach it as it did in training",
                blame="the preprocessing or the labels",
                remedy=_remedy(job, is_constant=bool((answers == answers[:1]).all())),
            )


def _remedy(job: Job, *, is_constant: bool) -> str:
    found = child.call(
        "edgekit.data.chance:suggest",
        {
            "model": job.original.path,
            "inputs": job.data.samples("report"),
            "labels": job.data.targets("report"),
            "preprocess": job.recipe.data.preprocess,
            "input_specs": job.original.inputs,
        },
        what="trying other preprocessing",
        blame="edgekit",
    )
    if found is None and is_constant:
        return "It answers the same to every sample: check that its trained weights are in the file."
    if found is None:
        return "Check --normalize, --color and --resize, and that the labels are in the model's order."
    return f"With {found['flags']} the same model scores {found['accuracy']:.1f} % on {found['n']} samples: add it."
