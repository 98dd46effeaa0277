"""What the settings left open, decided by the network and the samples, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.core.machine import cpu_features
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.passes.recover.heads import heads
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import BatchNorm, RecoverSettings

__all__ = ["SMALLEST_BATCH", "Plan", "default_epochs", "make_plan"]

_SEEN = 900_000  # samples that a recovery sees, unless that makes too few or too many epochs
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 100
SMALLEST_BATCH = 16  # whose statistics say something
# Steps that each rate of the range test trains: a third of an epoch, within these, and within so many MACs forward.
_FEWEST_TRIED, _MOST_TRIED = 40, 100
_TRIED_MACS = 3e11
_NARROW = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        batch: samples a step.
        batch_norm: how BatchNormalization trains.
        momentum: of its moving averages.
        label_share: of the loss.
        bfloat16: whether a step multiplies in bfloat16.
        reinsert: whether a network without BatchNormalization gets it.
        tried: steps that each rate of the range test trains.
    """

    batch: int
    batch_norm: BatchNorm
    momentum: float
    label_share: float
    bfloat16: bool
    reinsert: bool
    tried: int


def make_plan(student: Model, train: Samples, settings: RecoverSettings) -> Plan:
    """Decide what `settings` leave to the data.

    Args:
        student: the network to train.
        train: the samples; without targets, the teacher has the whole loss.
        settings: what is given.
    """
    # Values want digits that neither bfloat16 nor the statistics of a batch leave.
    classes = all(head.kind != "values" for head in heads(student, train.targets))
    # Where a teacher of classes is wrong, the labels have all of the loss anyway.
    usual = 0.25 if classes else 0.5
    share = usual if settings.label_share is None else settings.label_share
    narrow = settings.bfloat16
    fixed = next((spec.shape[0] for spec in student.inputs if spec.shape), None)
    batch = fixed or max(1, min(settings.batch, len(train) // 4))
    steps = max(len(train) // batch, 1)
    norm = settings.batch_norm or (BatchNorm.BATCH if classes and batch >= SMALLEST_BATCH else BatchNorm.FROZEN)
    reinsert = settings.reinsert
    return Plan(
        batch,
        norm,
        # An average over a tenth of an epoch, but no fewer than 10 batches and no more than 100.
        1 - 1 / min(max(steps / 10, 10), 100),
        share if train.targets else 0.0,
        settings.integers is None and classes and bool(_NARROW & cpu_features()) if narrow is None else narrow,
        norm is BatchNorm.BATCH and not settings.thinned and settings.integers is None
        if reinsert is None
        else reinsert,
        _tried(model_cost(student).macs * batch, steps),
    )


def default_epochs(samples: int, share: float) -> int:
    """How often a training sees so many samples that has `share` of what the data decides."""
    return int(np.clip(-(-_SEEN * share // samples), _FEWEST_EPOCHS, _MOST_EPOCHS))


def _tried(macs: float, steps: int) -> int:
    """The longer, the better: short trials like rates that are too high, or stop at a chance dip.

    Nothing that a clock says has a part in it, or a locked build would take another rate.

    Args:
        macs: of a step, forward.
        steps: of an epoch.
    """
    affordable = min(steps // 3, _TRIED_MACS / max(macs, 1))
    return int(np.clip(affordable, _FEWEST_TRIED, _MOST_TRIED))
