"""Recovery: train a Model on the user's samples until it answers as the original does, or better, as labels say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import events
from edgekit.core.digest import digest_json
from edgekit.core.errors import InvalidInputError, from_system
from edgekit.core.machine import cpu_features
from edgekit.core.stopping import check_stopped
from edgekit.core.types import from_json, to_json
from edgekit.ir.model import Model
from edgekit.passes.cluster.clustering import keep_code_books
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.recover.augment import augmented, default_augment
from edgekit.passes.recover.batch_norm import InsertBatchNorm, has_batch_norm
from edgekit.passes.recover.checkpoint import Checkpoint, read, write
from edgekit.passes.recover.checks import check_samples
from edgekit.passes.recover.feeding import Feed
from edgekit.passes.recover.heads import heads
from edgekit.passes.recover.optimizing import learning_rate
from edgekit.passes.recover.range_test import STEPS, find_learning_rate
from edgekit.passes.recover.samples import Array, Samples, write_rows
from edgekit.passes.recover.settings import (
    Augment,
    BatchNorm,
    Epoch,
    Hint,
    LearningCurve,
    Outcome,
    RecoverSettings,
)

__all__ = ["recover_model", "repeatable"]

_SEEN = 240_000  # samples that a recovery sees, unless that makes too few or too many epochs
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 100
_SMALLEST_BATCH = 16  # whose statistics say something
_CALIBRATION = 256
_ALLOWED_DROP = 5.0  # points that a change of the images may cost the teacher
_EXPLODED = 10.0  # times the loss before
_LOOKED_AT = 50  # steps between two looks at the loss
_NARROW = frozenset({"avx512_bf16", "amx_bf16"})
_UNUSED = 1 << 30  # numbers of epochs that no training reaches


def repeatable() -> None:
    """Make TensorFlow give the same bits for the same seed and thread count; for the whole process, before its use."""
    import tensorflow as tf

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
        it is `student` itself.

    Raises:
        InvalidInputError: the samples can't train this, the teacher answers NaN, or weights that should go on sharing
            values (`settings.thinned`) don't share them now.
        UnsupportedOpError: a network can't be lowered to TensorFlow.
        UsageError: the disk is full.
    """
    from edgekit.lowering.registry import require_supported

    for model in (student, teacher):
        require_supported(model)
    for samples, role in ((train, "training"), (selection, "selection")):
        check_samples(student, samples, heads(student, samples.targets), role)
    try:
        return _Run(student, teacher, (train, selection), settings, workdir).result()
    except OSError as error:
        raise from_system(error) from error


@dataclass
class _State:
    """What a checkpoint holds besides arrays."""

    highest: float
    epochs: int
    steps: int
    best: int
    curve: tuple[Epoch, ...]
    diverged: str


class _Run:
    """One recovery."""

    def __init__(
        self,
        student: Model,
        teacher: Model,
        samples: tuple[Samples, Samples],
        settings: RecoverSettings,
        workdir: Path,
    ) -> None:
        train, selection = samples
        from edgekit.passes.recover.trainer import Plan, Trainer

        self._started = time.monotonic()
        self._settings, self._workdir, self._selection = settings, workdir, selection
        self._original = self._model = student
        labelled = bool(train.targets) and settings.label_share != 0
        share = settings.label_share if settings.label_share is not None else 0.5
        if not labelled:
            train = train.unlabelled()
        # Values want digits that neither bfloat16 nor the statistics of a batch leave.
        classes = all(head.kind != "values" for head in heads(student, train.targets))
        narrow = settings.bfloat16
        if narrow is None:
            narrow = classes and bool(_NARROW & cpu_features())
        self._key = digest_json(
            {
                "bfloat16": narrow,
                "settings": settings,
                "models": [student.digest, teacher.digest],
                "samples": [train.digest, selection.digest],
            }
        )
        fixed = next((spec.shape[0] for spec in student.inputs if spec.shape), None)
        batch = fixed or max(1, min(settings.batch, len(train) // 4))
        steps = max(len(train) // batch, 1)
        if settings.reinsert and not has_batch_norm(student):
            feeds = train.take(slice(0, _CALIBRATION)).feeds(student.inputs)
            self._model, _ = apply(student, [InsertBatchNorm(feeds)], settings.seed)
        fused, _ = apply(teacher, FUSION, settings.seed, until_stable=True)
        plan = Plan(
            batch,
            settings.batch_norm or (BatchNorm.BATCH if classes and batch >= _SMALLEST_BATCH else BatchNorm.FROZEN),
            # An average over a tenth of an epoch, but no fewer than 10 batches and no more than 100.
            1 - 1 / min(max(steps / 10, 10), 100),
            share if labelled else 0.0,
            narrow,
        )
        self._trainer = Trainer(self._model, fused, train, settings, plan)
        self._taught = self._told(selection)
        augment = self._suitable(labelled=labelled) if settings.augment is None else settings.augment
        if Augment.MIXUP in augment:
            train = _shares(train, student)
        cached: Mapping[str, Array] = {}
        if self._trainer.needs_teacher and not augment and settings.hint is Hint.NONE:
            cached = self._cached(train)
        self._feed = Feed(train, student.inputs, batch, augment, settings.seed, cached)
        self._before = self._trainer.evaluate(selection, self._taught)

    def result(self) -> tuple[Model, LearningCurve]:
        """Train, from the last checkpoint on."""
        from edgekit.passes.recover.training import written_back

        stored = read(self._workdir, self._key)
        if stored is None:
            state, best = self._planned(), {}
        else:
            state = from_json(_State, stored.about)
            best = _named(stored.arrays, "best/")
            self._trainer.set_weights(_named(stored.arrays, "weight/"))
            slots = _named(stored.arrays, "slot/")
            self._trainer.set_slots([slots[str(place)] for place in range(len(slots))])
        while not self._is_over(state):
            state, best = self._epoch(state, best)
        curve = self._curve(state)
        if not state.best:
            return self._original, curve
        recovered = written_back(self._model, best)
        if self._settings.thinned:
            keep_code_books(self._model, recovered)
        return recovered, curve

    def _planned(self) -> _State:
        """The learning rate and the epochs; the optimizer and the weights are as they were, then."""
        settings, steps = self._settings, self._feed.steps
        epochs = settings.epochs or int(
            np.clip(-(-_SEEN * settings.share // len(self._feed.samples)), _FEWEST_EPOCHS, _MOST_EPOCHS)
        )
        highest = settings.learning_rate
        if highest is None or settings.max_seconds is not None:
            found, pace = self._range_test()
            highest = found if highest is None else highest
            if settings.max_seconds is not None:
                left = max(settings.max_seconds - (time.monotonic() - self._started), 0)
                epochs = max(min(epochs, int(left / (pace * steps))), 1)
                steps = max(min(steps, int(left / pace)), 1)
        return _State(highest, epochs, steps, 0, (), "")

    def _range_test(self) -> tuple[float, float]:
        """The learning rate, and the seconds that a step takes."""
        weights, slots = self._trainer.weights(), self._trainer.slots()
        times: list[float] = []

        def trial(rates: list[float]) -> list[float]:
            check_stopped()
            events.progress("looking for a learning rate", 0.0)
            losses = []
            for rate, (inputs, targets, taught) in zip(rates, self._trial_batches(), strict=True):
                losses.append(float(self._trainer.step(inputs, targets, taught, rate)))
                times.append(time.monotonic())
            self._trainer.set_weights(weights)
            self._trainer.set_slots(slots)
            return losses

        found = find_learning_rate(self._settings.optimizer, trial)
        return found, float(np.median(np.diff(times)))

    def _trial_batches(self) -> Iterator[tuple[list[Array], dict[str, Array], dict[str, Array]]]:
        """`STEPS` batches, of epochs that are none of the training's."""
        left, number = STEPS, _UNUSED
        while left:
            steps = min(left, self._feed.steps)
            yield from self._feed.epoch(number, steps)
            left, number = left - steps, number + 1

    def _epoch(self, state: _State, best: dict[str, Array]) -> tuple[_State, dict[str, Array]]:
        """One epoch more, and its checkpoint."""
        number, begun = len(state.curve) + 1, time.monotonic()
        losses: list[Any] = []
        rate = 0.0
        for inputs, targets, taught in self._feed.epoch(number, state.steps):
            at = (number - 1) * state.steps + len(losses)
            rate = learning_rate(self._settings, state.highest, at, state.epochs * state.steps, state.curve)
            losses.append(self._trainer.step(inputs, targets, taught, rate))
            if len(losses) % _LOOKED_AT == 0:
                check_stopped()
                self._say(state, at)
                if not np.isfinite(float(losses[-1])):
                    break
        seconds = time.monotonic() - begun
        loss = float(np.mean([float(each) for each in losses]))
        found = self._trainer.evaluate(self._selection, self._taught)
        epoch = Epoch(number, rate, loss, found.value, found.loss, seconds)
        limit = _EXPLODED * max(self._before.loss, 1.0)
        if not (np.isfinite(loss) and found.is_finite and loss <= limit):
            diverged = f"training diverged in epoch {number} (loss {loss:.3g}, learning rate {rate:.2g})"
            return replace(state, diverged=diverged), best
        state = replace(state, curve=(*state.curve, epoch))
        weights = self._trainer.weights()
        if found.beats(self._best(state)):
            state, best = replace(state, best=number), weights
        arrays = {f"weight/{name}": array for name, array in weights.items()}
        arrays |= {f"best/{name}": array for name, array in best.items()}
        arrays |= {f"slot/{place}": array for place, array in enumerate(self._trainer.slots())}
        write(self._workdir, Checkpoint(self._key, to_json(state), arrays))
        self._say(state, number * state.steps)
        return state, best

    def _best(self, state: _State) -> Any:
        if not state.best:
            return self._before
        epoch = state.curve[state.best - 1]
        return replace(self._before, value=epoch.score, loss=epoch.selection_loss)

    def _is_over(self, state: _State) -> bool:
        done, settings = len(state.curve), self._settings
        spent = sum(epoch.seconds for epoch in state.curve)
        late = settings.max_seconds is not None and done > 0 and spent >= settings.max_seconds
        stale = settings.patience is not None and done - state.best >= settings.patience
        return bool(state.diverged) or done >= state.epochs or late or stale

    def _curve(self, state: _State) -> LearningCurve:
        seconds = sum(epoch.seconds for epoch in state.curve)
        images = len(state.curve) * state.steps * self._feed.batch
        note = f"epoch {state.best} of {len(state.curve)} was the best" if state.best else "no epoch was better"
        if state.diverged:
            kept = f"the weights of epoch {state.best} were kept" if state.best else "the weights stay as they were"
            note = f"{state.diverged}; {kept}"
            events.warn(note)
        elif not state.best:
            events.warn("recovery gained nothing: the weights stay as they were")
        outcome: Outcome = "diverged" if state.diverged else "recovered" if state.best else "no gain"
        pace = images / seconds if seconds else 0.0
        return LearningCurve(
            self._before.metric, self._before.value, state.curve, state.best, outcome, note, state.highest, pace
        )

    def _say(self, state: _State, done: int) -> None:
        total = state.epochs * state.steps
        text = f"recovering: epoch {min(done // state.steps + 1, state.epochs)} of {state.epochs}"
        if state.curve:
            last = state.curve[-1]
            left = (total - done) / state.steps * last.seconds
            shown = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
            text += f", loss {last.loss:.3g}, {self._before.metric} {last.score:.1f}, {shown} left"
        events.progress(text, done / total)

    def _told(self, samples: Samples) -> dict[str, Array]:
        """What the teacher answers to `samples`."""
        parts = list(self._trainer.teach(samples))
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for name, array in whole.items():
            if not np.isfinite(array).all():
                raise InvalidInputError(
                    f"the original model answers NaN or infinity at output {name!r}",
                    blame="your model",
                    remedy="Check its weights and the range of your data (--normalize).",
                )
        return whole

    def _cached(self, samples: Samples) -> dict[str, Array]:
        """What the teacher answers, on disk."""
        cached = {}
        for place, head in enumerate(self._trainer.heads):
            parts = (part[head.output] for part in self._trainer.teach(samples))
            cached[head.output] = write_rows(self._workdir / f"teacher-{place}.npy", parts, len(samples))
        return cached

    def _suitable(self, *, labelled: bool) -> tuple[Augment, ...]:
        """The changes of images that leave their meaning.

        A teacher that answers the changed image itself may be asked about anything. Labels, though, must still be
        true, as far as the teacher can tell; true places would have to move along.
        """
        changes = default_augment(self._original.inputs)
        if not labelled:
            return changes
        specs, targets = self._original.inputs, self._selection.targets
        if any(array.ndim > 1 for array in targets.values()) or not targets:
            return ()
        before = self._accuracy(self._taught)
        fitting: list[Augment] = []
        for change in changes:
            random = np.random.default_rng([self._settings.seed, len(fitting)])
            moved = Samples(
                augmented(self._selection.inputs, specs, (change,), random), targets, self._selection.affine
            )
            if before - self._accuracy(self._told(moved)) <= _ALLOWED_DROP:
                fitting.append(change)
        return tuple(fitting)

    def _accuracy(self, taught: Mapping[str, Array]) -> float:
        from edgekit.passes.recover.scoring import score

        counted = len(next(iter(taught.values())))
        targets = {name: array[:counted] for name, array in self._selection.targets.items()}
        return score(self._trainer.heads, taught, targets, taught, 0.0).value


def _shares(samples: Samples, model: Model) -> Samples:
    """The same samples with classes as one-hot rows, which can be mixed."""
    targets = dict(samples.targets)
    for head in heads(model, targets):
        labels = targets.get(head.output)
        if labels is None or labels.dtype.kind == "f" or head.kind == "values":
            continue
        if labels.ndim > 1:
            raise InvalidInputError(
                f"label maps of {head.output!r} can't be mixed", blame="the settings", remedy="Leave out mixup."
            )
        shape = next(spec.sample_shape for spec in model.outputs if spec.name == head.output)
        rows: Any = labels[:, None] if head.kind == "sigmoid" else labels[:, None] == np.arange(max(shape))
        targets[head.output] = np.asarray(rows, np.float32)
    return Samples(samples.inputs, targets, samples.affine)


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
