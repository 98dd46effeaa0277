"""Training before a target's artifact is compiled: how much of it, when, and in which arithmetic."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from edgekit.backends.base import IntegerBackend
from edgekit.core.digest import digest_json
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.plain import from_json
from edgekit.core.types import INT4_TOP
from edgekit.passes.recover.settings import LearningCurve, RecoverSettings
from edgekit.passes.thin import Thinning
from edgekit.pipeline.lock import Lock, TrainingChoice
from edgekit.pipeline.stages import SourceModel, recover
from edgekit.pipeline.trial import TargetJob

__all__ = ["Recovery"]

# Of all epochs what a training in int8 has: it begins where it should end.
_INT8_SHARE = 0.2


@dataclass(frozen=True)
class Recovery:
    """The training of a target.

    Attributes:
        settings: what the recipe says of it, for all of it; None where none is wanted.
        original_first: whether the first of the trainings in float is the original's.
        shares: what each training in float has of all epochs.
        int8: what the one in int8 has, which is the last; 0 where none is wanted.
        inputs: digest of all that decides them, but for a clock.
        epochs: of each, where a lock remembers them.
    """

    settings: RecoverSettings | None
    original_first: bool = False
    shares: tuple[float, ...] = ()
    int8: float = 0.0
    inputs: str = ""
    epochs: tuple[int, ...] = ()

    @classmethod
    def of(cls, target: TargetJob, lock: Lock) -> Recovery:
        """What a recipe wants: a training after each step of pruning and thinning, or just one; and one in int8.

        Raises:
            InvalidInputError: the original shall learn from labels, and there are none.
        """
        recipe = target.job.recipe
        if not recipe.recover.trains:
            return cls(None)
        shrink = recipe.shrink
        pruned = shrink.prune_steps if shrink.prune is not None else int(shrink.speedup is not None)
        thinned = len(Thinning(shrink.sparsity, shrink.pattern, shrink.clusters).steps)
        first = recipe.recover.original_first and pruned + thinned > 0
        if first and target.job.lesson.targets is None:
            raise InvalidInputError(
                "the original shall learn first (original_first), and the data has no labels for it to learn from",
                blame="your recipe",
                remedy="Give data with labels, or leave original_first out: the original then teaches as it is.",
            )
        settings = from_json(RecoverSettings, {**recipe.recover.settings, "seed": recipe.run.seed})
        inputs = digest_json(
            {
                "model": target.job.original.digest,
                "lesson": target.job.lesson.digests,
                "shrink": shrink.model_dump(mode="json"),
                "settings": settings,
                "original first": first,
                "trained": [recipe.recover.recover, recipe.recover.qat and recipe.recover.qat_bits],
            }
        )
        remembered = lock.training.get(target.target.name)
        epochs = remembered.epochs if remembered and remembered.inputs == inputs else ()
        int8 = _INT8_SHARE if recipe.recover.qat else 0.0
        trainings = max(first + pruned + thinned, 1) if recipe.recover.recover else 0
        shares = ((1 - int8) / trainings,) * trainings if trainings else ()
        return cls(settings, first, shares, int8, inputs, epochs)

    @property
    def wanted(self) -> bool:
        """Whether anything is trained in float."""
        return bool(self.shares)

    def remember(self, target: TargetJob, lock: Lock) -> None:
        """Let `lock` keep how long the trainings of `target` were to be."""
        if self.settings is not None:
            planned = tuple(curve.planned for curve in target.curves)
            lock.training[target.target.name] = TrainingChoice(self.inputs, planned)

    def begun(self, target: TargetJob) -> TargetJob:
        """The job whose original was trained, where it is to be: by labels alone, since it is its own teacher."""
        if not self.original_first:
            return target
        settings = replace(self._next(target, self.shares[0]), label_share=1.0)
        target, parent = _train(target, target.job.original, settings)
        return replace(target, parent=parent)

    def train(self, target: TargetJob, model: SourceModel, *, thinned: bool = False) -> tuple[TargetJob, SourceModel]:
        """The job with one learning curve more, and `model` trained; both as they are where no training is wanted.

        Args:
            target: the job, with the teacher.
            model: what to train.
            thinned: whether its zeros stay zero, and its shared values shared.
        """
        if not self.wanted:
            return target, model
        return _train(target, model, replace(self._next(target, self.shares[0]), thinned=thinned))

    def quantize(self, target: TargetJob) -> TargetJob:
        """The job with its model's int8 form, trained in int8; as it is where that is not wanted.

        Raises:
            UsageError: the back end does not say what int8 is to it.
        """
        if not self.int8:
            return target
        if not isinstance(target.backend, IntegerBackend):
            raise UsageError(
                f"the back end {target.backend.name} does not say how it rounds, so nothing can be trained for that",
                blame="the command line",
                remedy="Leave out --qat, or give the back end the method `integers`: see docs/writing-a-backend.md.",
            )
        integers = target.backend.integers(saturates=target.target.saturates)
        if target.job.recipe.recover.qat_bits == 4:
            integers = replace(integers, top=INT4_TOP)
        thinned = target.thinned is not None
        settings = replace(self._next(target, self.int8), thinned=thinned, integers=integers)
        target, trained = _train(target, target.model, settings)
        return replace(target, int8_form=trained)

    def _next(self, target: TargetJob, share: float) -> RecoverSettings:
        """The settings of the next training: its share of the epochs and of the time, or what the lock remembers."""
        settings, number = self.settings, len(target.curves) + 1
        assert settings is not None
        if number <= len(self.epochs):
            return replace(settings, share=share, epochs=self.epochs[number - 1], max_seconds=None)
        epochs, seconds, part = settings.epochs, settings.max_seconds, share / (sum(self.shares) + self.int8)
        return replace(
            settings,
            share=share,
            epochs=None if epochs is None else max(math.floor(epochs * part), 1),
            max_seconds=None if seconds is None else seconds * part,
        )


def _train(target: TargetJob, model: SourceModel, settings: RecoverSettings) -> tuple[TargetJob, SourceModel]:
    job = target.job
    trained = recover(job.store, model, target.teacher, job.lesson, settings, threads=_cores())
    curve: LearningCurve = from_json(LearningCurve, trained.report["curve"])
    return replace(target, curves=(*target.curves, curve)), trained


def _cores() -> int:
    return len(os.sched_getaffinity(0))
