"""Everything that a recovery needs before its first step: the networks, the batches, and how good the student is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.digest import digest_json, own_sources
from edgekit.core.errors import InvalidInputError
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.quantize import gemm_form, measure_ranges
from edgekit.passes.recover.batch_norm import InsertBatchNorm, has_batch_norm
from edgekit.passes.recover.feeding import Feed
from edgekit.passes.recover.heads import with_shares
from edgekit.passes.recover.planning import Plan, make_plan
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.scoring import Score
from edgekit.passes.recover.settings import Augment, Hint, RecoverSettings
from edgekit.passes.recover.suiting import suitable_augment
from edgekit.passes.recover.teaching import answers, stored_answers
from edgekit.passes.recover.trainer import Trainer

__all__ = ["Setup", "set_up"]

_CALIBRATION = 256


@dataclass(frozen=True)
class Setup:
    """A recovery that can begin.

    Attributes:
        model: the network in the form that is trained.
        trainer: it and its teacher in TensorFlow.
        feed: the batches.
        plan: what the data decided.
        selection: the samples that epochs are compared on, and `taught`, the teacher's answers to them.
        before: the score there, before recovery.
        key: digest of everything that decides the run.
    """

    model: Model
    trainer: Trainer
    feed: Feed
    plan: Plan
    selection: Samples
    taught: Mapping[str, Array]
    before: Score
    key: str


def set_up(
    student: Model, teacher: Model, train: Samples, selection: Samples, *, settings: RecoverSettings, workdir: Path
) -> Setup:
    """Prepare what `recover_model` was called with.

    Raises:
        InvalidInputError: student or teacher answers NaN; label maps can't be mixed.
        OSError: the disk is full.
    """
    if settings.label_share == 0:
        train = train.unlabelled()
    plan = make_plan(student, train, settings)
    key = digest_json(
        {
            "edgekit": own_sources(),
            "bfloat16": plan.bfloat16,
            "settings": settings,
            "models": [student.digest, teacher.digest],
            "samples": [train.digest, selection.digest],
        }
    )
    model, ranges = student, None
    if settings.integers is not None or (plan.reinsert and not has_batch_norm(student)):
        feeds = train.take(slice(0, _CALIBRATION)).feeds(student.inputs)
        if settings.integers is not None:
            model = gemm_form(apply(student, FUSION, settings.seed, until_stable=True)[0])
            ranges = measure_ranges(model, feeds)
        else:
            model, _ = apply(student, [InsertBatchNorm(feeds, resized=not settings.thinned)], settings.seed)
    fused, _ = apply(teacher, FUSION, settings.seed, until_stable=True)
    trainer = Trainer(model, fused, train, settings, plan, ranges=ranges)
    taught = answers(trainer, selection)
    augment = settings.augment
    if augment is None:
        augment = suitable_augment(student, trainer, selection, taught, settings.seed, labelled=bool(train.targets))
    if Augment.MIXUP in augment:
        train = Samples(train.inputs, with_shares(student, train.targets), train.affine)
    cached: Mapping[str, Array] = {}
    if trainer.needs_teacher and not augment and settings.hint is Hint.NONE:
        cached = stored_answers(trainer, train, workdir)
    feed = Feed(train, student.inputs, plan.batch, augment, settings.seed, cached)
    before = trainer.evaluate(selection, taught)
    if not before.is_finite:
        raise InvalidInputError(
            "the model to train answers NaN or infinity, where the original does not",
            blame="your model",
            remedy="Check its weights, or take less away from it.",
        )
    return Setup(model, trainer, feed, plan, selection, taught, before, key)
