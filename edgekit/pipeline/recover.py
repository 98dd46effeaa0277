"""Training before a target's artifact is compiled: how much of it, and when."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from edgekit.core.digest import digest_json
from edgekit.core.errors import InvalidInputError
from edgekit.core.types import from_json
from edgekit.passes.recover.settings import LearningCurve, RecoverSettings
from edgekit.passes.thin import Thinning
from edgekit.pipeline.lock import Lock, TrainingChoice
from edgekit.pipeline.stages import SourceModel, recover
from edgekit.pipeline.trial import TargetJob

__all__ = ["Recovery"]


@dataclass(frozen=True)
class Recovery:
    """The training of a target.

    Attributes:
        settings: what the recipe says of it, for all of it; None where none is wanted.
        trainings: how many there will be.
        original_first: whether the first of them is the original's.
        inputs: digest of all that decides them, but for a clock.
        epochs: of each, where a lock remembers them.
    """

    settings: RecoverSettings | None
    trainings: int = 0
    original_first: bool = False
    inputs: str = ""
    epochs: tuple[int, ...] = ()

    @classmethod
    def of(cls, target: TargetJob, lock: Lock) -> Recovery:
        """What a recipe wants: a training after each step of pruning and of thinning; or one where there is none.

        Raises:
            InvalidInputError: the original shall learn from labels, and there are none.
        """
        recipe = target.job.recipe
        if not recipe.recover.recover:
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
            }
        )
        remembered = lock.training.get(target.target.name)
        epochs = remembered.epochs if remembered and remembered.inputs == inputs else ()
        return cls(settings, max(first + pruned + thinned, 1), first, inputs, epochs)

    @property
    def wanted(self) -> bool:
        """Whether anything is trained."""
        return self.settings is not None

    def remember(self, target: TargetJob, lock: Lock) -> None:
        """Let `lock` keep how long the trainings of `target` were to be."""
        if self.wanted:
            planned = tuple(curve.planned for curve in target.curves)
            lock.training[target.target.name] = TrainingChoice(self.inputs, planned)

    def begun(self, target: TargetJob) -> TargetJob:
        """The job whose original was trained, where it is to be."""
        if not self.original_first:
            return target
        target, parent = self.train(target, target.job.original)
        return replace(target, parent=parent)

    def train(self, target: TargetJob, model: SourceModel, *, thinned: bool = False) -> tuple[TargetJob, SourceModel]:
        """The job with one learning curve more, and `model` trained; both as they are where no training is wanted.

        Args:
            target: the job, with the teacher.
            model: what to train.
            thinned: whether its zeros stay zero, and its shared values shared.
        """
        if self.settings is None:
            return target, model
        job = target.job
        settings = replace(self._part(self.settings, len(target.curves) + 1), thinned=thinned)
        trained = recover(job.store, model, target.teacher, job.lesson, settings, threads=_cores())
        curve: LearningCurve = from_json(LearningCurve, trained.report["curve"])
        return replace(target, curves=(*target.curves, curve)), trained

    def _part(self, settings: RecoverSettings, number: int) -> RecoverSettings:
        """The settings of one training: its share of the epochs and of the time, or what the lock remembers."""
        share = 1 / self.trainings
        if number <= len(self.epochs):
            return replace(settings, share=share, epochs=self.epochs[number - 1], max_seconds=None)
        epochs, seconds = settings.epochs, settings.max_seconds
        return replace(
            settings,
            share=share,
            epochs=None if epochs is None else max(math.floor(epochs * share), 1),
            max_seconds=None if seconds is None else seconds * share,
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0))
