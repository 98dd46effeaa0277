"""The teacher's answers, asked once for all samples: in memory, or on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.passes.recover.samples import Array, Samples, write_rows
from edgekit.passes.recover.trainer import Trainer

__all__ = ["answers", "stored_answers"]


def answers(trainer: Trainer, samples: Samples) -> dict[str, Array]:
    """The teacher's logits, (n, …) an output.

    Raises:
        InvalidInputError: some are no numbers.
    """
    parts = list(trainer.teach(samples))
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, array in whole.items():
        if not np.isfinite(array).all():
            raise InvalidInputError(
                f"the original model answers NaN or infinity at output {name!r}",
                blame="your model",
                remedy="Check its weights and the range of your data (--normalize).",
            )
    return whole


def stored_answers(trainer: Trainer, samples: Samples, folder: Path) -> dict[str, Array]:
    """The same on disk, mapped into memory, one file an output in `folder`."""
    found = {}
    for place, head in enumerate(trainer.heads):
        parts = (part[head.output] for part in trainer.teach(samples))
        found[head.output] = write_rows(folder / f"teacher-{place}.npy", parts, len(samples))
    return found
