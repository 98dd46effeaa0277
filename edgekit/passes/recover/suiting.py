"""Which changes of images leave their meaning, as far as the teacher can tell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.recover.augment import augmented, default_augment
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.scoring import score
from edgekit.passes.recover.settings import Augment
from edgekit.passes.recover.teaching import answers
from edgekit.passes.recover.trainer import Trainer

__all__ = ["suitable_augment"]

_ALLOWED_DROP = 5.0  # points that a change may cost the teacher


def suitable_augment(
    model: Model, trainer: Trainer, selection: Samples, taught: Mapping[str, Array], seed: int, *, labelled: bool
) -> tuple[Augment, ...]:
    """The default changes that suit the data.

    A teacher that answers the changed image itself may be asked about anything. Labels, though, must still be true, as
    far as the teacher can tell; true places would have to move along.

    Args:
        model: whose inputs are changed.
        trainer: of the teacher.
        selection: samples to try changes on.
        taught: what the teacher answers to them.
        seed: of the changes.
        labelled: whether labels have a part in the training.
    """
    changes, specs, targets = default_augment(model.inputs), model.inputs, selection.targets
    if not labelled:
        return changes
    if any(array.ndim > 1 for array in targets.values()) or not targets:
        return ()

    def accuracy(found: Mapping[str, Array]) -> float:
        counted = len(next(iter(found.values())))
        known = {name: array[:counted] for name, array in targets.items()}
        return score(trainer.heads, found, known, found, 0.0).value

    before = accuracy(taught)
    fitting: list[Augment] = []
    for change in changes:
        moved = augmented(selection.inputs, specs, (change,), np.random.default_rng([seed, len(fitting)]))
        if before - accuracy(answers(trainer, Samples(moved, targets, selection.affine))) <= _ALLOWED_DROP:
            fitting.append(change)
    return tuple(fitting)
