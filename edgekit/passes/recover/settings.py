"""How to train: everything that decides what a recovery does, and what it answers besides the Model. Plain data."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from edgekit.core.types import Integers

__all__ = [
    "Augment", "BatchNorm", "Epoch", "Hint", "LearningCurve", "Optimizer", "Outcome", "RecoverSettings", "Schedule",
]  # fmt: skip


class Optimizer(enum.StrEnum):
    """What turns gradients into steps."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"
    RMSPROP = "rmsprop"


class Schedule(enum.StrEnum):
    """The learning rate behind the warm-up: as it is, down along half a cosine, or halved where nothing improves."""

    CONSTANT = "constant"
    COSINE = "cosine"
    PLATEAU = "plateau"


class Augment(enum.StrEnum):
    """A random change of a sample that leaves its meaning: see `augment`."""

    FLIP = "flip"
    SHIFT = "shift"
    CROP = "crop"
    NOISE = "noise"
    MIXUP = "mixup"


class BatchNorm(enum.StrEnum):
    """Whether BatchNormalization trains with the statistics of its batch, or keeps the ones it has."""

    BATCH = "batch"
    FROZEN = "frozen"


class Hint(enum.StrEnum):
    """What else than its outputs the teacher shows: nothing, features of layers, or attention maps."""

    NONE = "none"
    FEATURES = "features"
    ATTENTION = "attention"


@dataclass(frozen=True)
class RecoverSettings:
    """A recovery. The defaults work unseen; None lets the data decide.

    Attributes:
        epochs: at most so many; None: from the number of samples.
        max_seconds: the time that training may take, on the clock; None: half an hour where `epochs` are open, too.
        batch: samples a step.
        optimizer, momentum, nesterov, weight_decay: SGD and RMSprop take the momentum, AdamW the decay of the kernels.
        learning_rate: the highest; None: by a short range test.
        schedule, warmup: the learning rate over time; the warm-up is a share of all steps.
        clip: the largest global norm of the gradients.
        patience: stop after so many epochs without a better selection score; None: after half of all, and 20 at least.
        label_share: the share of the labels in the loss; the teacher has the rest where it is right by the label. None:
            ¼ of classes, ½ of values, 0 without labels.
        temperature: of the soft labels (Hinton et al., 2015, arXiv:1503.02531).
        hint, hint_weight: what else the teacher shows, and how much it counts.
        augment: the changes; None: flip and shift for images, none for anything else.
        batch_norm: None: batch statistics where all outputs are classes and a batch has 16 samples or more.
        bfloat16: convolutions and products multiply in bfloat16, and add up in float32; None: where the CPU does so by
            itself and all outputs are classes. Values would miss the digits.
        share: of the epochs that the data decides: of one of several trainings.
        reinsert: put BatchNormalization behind the convolutions of a network that came without any; None: where it
            would train with batch statistics in float, and nothing was thinned out. int8 has it folded.
        thinned: the network was thinned out: zeros stay zero, and weights that share a value go on sharing it.
        integers: train in int8, as a back end with these computes; None: in float. It begins with the ranges of
            values on 256 samples, and its result is the network's int8 form.
        seed: of everything random.
    """

    epochs: int | None = None
    max_seconds: float | None = None
    batch: int = 64
    optimizer: Optimizer = Optimizer.ADAM
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    learning_rate: float | None = None
    schedule: Schedule = Schedule.COSINE
    warmup: float = 0.05
    clip: float = 5.0
    patience: int | None = None
    label_share: float | None = None
    temperature: float = 2.0
    hint: Hint = Hint.NONE
    hint_weight: float = 1.0
    augment: tuple[Augment, ...] | None = None
    batch_norm: BatchNorm | None = None
    bfloat16: bool | None = None
    reinsert: bool | None = None
    share: float = 1.0
    thinned: bool = False
    integers: Integers | None = None
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
        number: from 1.
        learning_rate: at its last step.
        loss: the mean over its steps.
        score: on the selection samples, higher is better.
        selection_loss: the loss there.
        seconds: on the clock.
    """

    number: int
    learning_rate: float
    loss: float
    score: float
    selection_loss: float
    seconds: float


Outcome = Literal["recovered", "no gain", "diverged"]


@dataclass(frozen=True)
class LearningCurve:
    """What a recovery did.

    Attributes:
        metric: what the scores are: "top1" or "agreement" (points), or "sqnr" (dB).
        before: the score before recovery.
        epochs: one by one.
        best: number of the epoch whose weights were kept; 0 for those from before the recovery.
        outcome: "recovered"; "no gain", where the weights stay as they were; "diverged", where training broke off and
            the best weights until then were kept.
        note: what happened, for people.
        learning_rate: the highest that was used.
        images_per_second: of training, on the clock.
        planned: how many epochs there were to be: fewer than the data decides where a clock said so.
        in_int8: whether it was trained in int8; the score before is then that of int8 without training.
    """

    metric: str
    before: float
    epochs: tuple[Epoch, ...]
    best: int
    outcome: Outcome
    note: str
    learning_rate: float
    images_per_second: float
    planned: int
    in_int8: bool = False

    @property
    def after(self) -> float:
        """The score of the weights that were kept."""
        return self.epochs[self.best - 1].score if self.best else self.before
