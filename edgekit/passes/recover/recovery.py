"""Recovery: train a Model on the user's samples until it answers as the original does, or better, as labels say."""

from __future__ import annotations

import time
from pathlib import Path

from edgekit.core.errors import from_system
from edgekit.ir.model import Model
from edgekit.passes.cluster.clustering import keep_code_books
from edgekit.passes.recover.checks import check_samples
from edgekit.passes.recover.heads import heads
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import LearningCurve, RecoverSettings

__all__ = ["recover_model", "repeatable"]


def repeatable() -> None:
    """Make TensorFlow give the same bits for the same seed and thread count; for the whole process, before its use."""
    from edgekit.lowering import lazy_tf as tf

    tf.config.experimental.enable_op_determinism()


def recover_model(
    student: Model, teacher: Model, train: Samples, selection: Samples, *, settings: RecoverSettings, workdir: Path
) -> tuple[Model, LearningCurve]:
    """Train `student` on samples, with labels, with `teacher` as the example, or both.

    Progress goes to the current listener of `edgekit.core.events`. After each epoch everything that a later call needs
    is in `workdir`: a call with the same arguments goes on there, and ends with the same bytes, given the same count of
    threads and `repeatable`.

    Args:
        student: the Model to train, pruned or not.
        teacher: the original; its inputs and outputs are the student's.
        train: samples to learn from; targets may be missing.
        selection: other samples, which choose the best epoch and tell when to stop.
        settings: how.
        workdir: an existing folder.

    Returns:
        The Model with the weights of the best epoch, and the curve. Where no epoch was better than the weights before,
        it is `student` itself. With `settings.integers` it is the int8 form, BatchNormalization folded, in any case:
        the curve's score before is then that of int8 without training.

    Raises:
        InvalidInputError: the samples can't train this, the teacher answers NaN, or weights that should go on sharing
            values (`settings.thinned`) don't share them now.
        UnsupportedOpError: a network can't be lowered to TensorFlow.
        UsageError: the disk is full.
    """
    from edgekit.lowering.registry import require_supported
    from edgekit.passes.recover.int8_form import int8_form
    from edgekit.passes.recover.loop import Loop
    from edgekit.passes.recover.setup import set_up
    from edgekit.passes.recover.training import written_back

    started = time.monotonic()
    for model in (student, teacher):
        require_supported(model)
    for samples, role in ((train, "training"), (selection, "selection")):
        check_samples(student, samples, heads(student, samples.targets), role)
    try:
        setup = set_up(student, teacher, train, selection, settings=settings, workdir=workdir)
        begun = setup.trainer.weights()
        best, curve = Loop(setup, settings, workdir, started).run()
    except OSError as error:
        raise from_system(error) from error
    fake = setup.trainer.fake
    if not best and fake is None:
        return student, curve
    recovered = int8_form(setup.model, fake, best or begun) if fake else written_back(setup.model, best)
    if settings.thinned:
        keep_code_books(setup.model, recovered)
    return recovered, curve
