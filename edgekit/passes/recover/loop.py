"""A recovery, epoch by epoch: trained, judged and checkpointed, until it is over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import events
from edgekit.core.plain import from_json, to_json
from edgekit.core.stopping import check_stopped
from edgekit.passes.recover.checkpoint import Checkpoint, read, write
from edgekit.passes.recover.optimizing import learning_rate
from edgekit.passes.recover.planning import default_epochs
from edgekit.passes.recover.range_test import try_rates
from edgekit.passes.recover.samples import Array
from edgekit.passes.recover.scoring import Score
from edgekit.passes.recover.settings import Epoch, LearningCurve, Outcome, RecoverSettings
from edgekit.passes.recover.setup import Setup

__all__ = ["Loop"]

_EXPLODED = 10.0  # times the loss before
_LOOKED_AT = 50  # steps between two looks at the loss
# While the rate is high, no epoch may be better for long, and what is gained comes in the end, when it is low.
_PATIENCE = 20
_DEFAULT_SECONDS = 1800.0  # for a training whose length nothing says


@dataclass
class _State:
    """What a checkpoint holds besides arrays."""

    highest: float
    epochs: int
    steps: int
    best: int
    curve: tuple[Epoch, ...]
    diverged: str


class Loop:
    """The epochs of one recovery."""

    def __init__(self, setup: Setup, settings: RecoverSettings, workdir: Path, started: float) -> None:
        """`started` is when the recovery began, on the monotonic clock; checkpoints go to `workdir`."""
        self._trainer, self._feed, self._before = setup.trainer, setup.feed, setup.before
        self._setup, self._settings, self._workdir, self._started = setup, settings, workdir, started

    def run(self) -> tuple[dict[str, Array], LearningCurve]:
        """Train, from the last checkpoint on.

        Returns:
            The weights of the best epoch, empty where no epoch was better than none; and the curve.

        Raises:
            OSError: the disk is full.
        """
        stored = read(self._workdir, self._setup.key)
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
        return best, self._curve(state)

    def _planned(self) -> _State:
        """The learning rate and the epochs; the optimizer and the weights are as they were, then."""
        settings, steps = self._settings, self._feed.steps
        epochs = settings.epochs or default_epochs(len(self._feed.samples), settings.share)
        limit = settings.max_seconds
        if limit is None and settings.epochs is None:
            limit = _DEFAULT_SECONDS * settings.share
        highest = settings.learning_rate
        if highest is None or limit is not None:
            found = try_rates(self._trainer, self._feed, settings.optimizer, self._setup.plan.tried)
            highest = found.rate if highest is None else highest
            if limit is not None:
                left = int(max(limit - (time.monotonic() - self._started), 0) / found.seconds)
                if left < epochs * steps:
                    epochs, wanted = max(left // steps, 1), epochs
                    steps = max(min(steps, left), 1)
                    events.progress(f"{limit / 60:.3g} min suffice for {epochs} of {wanted} epochs", 0.0)
        return _State(highest, epochs, steps, 0, (), "")

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
        found = self._trainer.evaluate(self._setup.selection, self._setup.taught)
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
        write(self._workdir, Checkpoint(self._setup.key, to_json(state), arrays))
        self._say(state, number * state.steps)
        return state, best

    def _best(self, state: _State) -> Score:
        if not state.best:
            return self._before
        epoch = state.curve[state.best - 1]
        return replace(self._before, value=epoch.score, loss=epoch.selection_loss)

    def _is_over(self, state: _State) -> bool:
        done, settings = len(state.curve), self._settings
        spent = sum(epoch.seconds for epoch in state.curve)
        late = settings.max_seconds is not None and done > 0 and spent >= settings.max_seconds
        patience = settings.patience or max(_PATIENCE, state.epochs // 2)
        stale = done - state.best >= patience
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
        before, epochs = self._before, state.curve
        return LearningCurve(
            before.metric,
            before.value,
            epochs,
            state.best,
            outcome,
            note,
            state.highest,
            pace,
            state.epochs,
            in_int8=self._settings.integers is not None,
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


def _named(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
