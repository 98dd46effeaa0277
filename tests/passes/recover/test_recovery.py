"""A pruned network gets its accuracy back; whatever goes wrong on the way, no weights are worse than before."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core import events
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.types import from_json, to_json
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import (
    Augment,
    BatchNorm,
    Hint,
    LearningCurve,
    Optimizer,
    RecoverSettings,
    Schedule,
)
from tests.passes.recover.conftest import Digits

FAST = RecoverSettings(epochs=6, learning_rate=0.01)


def recover(digits: Digits, settings: RecoverSettings, folder: Path, *, labels: bool = False) -> Any:
    train, selection = digits.train, digits.selection
    if not labels:
        train, selection = train.unlabelled(), selection.unlabelled()
    return recover_model(digits.pruned, digits.dense, train, selection, settings=settings, workdir=folder)


def test_without_labels_the_accuracy_comes_back(digits: Digits, tmp_path: Path) -> None:
    assert digits.top1(digits.pruned) < 60
    model, curve = recover(digits, RecoverSettings(epochs=6), tmp_path)
    assert digits.top1(model) > 97.5
    assert (curve.metric, curve.outcome) == ("agreement", "recovered")
    assert curve.after == max(epoch.score for epoch in curve.epochs) > curve.before
    assert (model.inputs, model.outputs) == (digits.pruned.inputs, digits.pruned.outputs)


def test_labels_and_teacher_together(digits: Digits, tmp_path: Path) -> None:
    model, curve = recover(digits, FAST, tmp_path, labels=True)
    assert digits.top1(model) > 97.5
    assert curve.metric == "top1"
    assert from_json(LearningCurve, to_json(curve)) == curve


def test_a_run_that_was_killed_ends_with_the_same_bytes(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, epochs=3, optimizer=Optimizer.ADAMW)
    whole, _ = recover(digits, settings, _folder(tmp_path / "whole"))

    def kill(event: events.Event) -> None:
        if "epoch 3 of 3" in event.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), events.listening(kill):
        recover(digits, settings, _folder(tmp_path / "killed"))
    again, curve = recover(digits, settings, tmp_path / "killed")
    assert [epoch.number for epoch in curve.epochs] == [1, 2, 3]
    assert again.digest == whole.digest


def test_divergence_keeps_the_best_weights_and_says_so(digits: Digits, tmp_path: Path) -> None:
    settings = RecoverSettings(epochs=3, learning_rate=1e6, optimizer=Optimizer.SGD, clip=1e9, warmup=0.0)
    heard: list[str] = []
    with events.listening(lambda event: heard.append(event.text) if event.kind == "warning" else None):
        model, curve = recover(digits, settings, tmp_path)
    assert curve.outcome == "diverged"
    assert curve.note in heard
    assert "diverged in epoch 1" in curve.note
    assert model is digits.pruned


def test_a_recovery_that_gains_nothing_keeps_the_weights(digits: Digits, tmp_path: Path) -> None:
    """The network is its own teacher: nothing can be gained, and a rate this high loses."""
    settings = RecoverSettings(epochs=2, learning_rate=0.1)
    train, selection = digits.train.unlabelled(), digits.selection.unlabelled()
    model, curve = recover_model(digits.dense, digits.dense, train, selection, settings=settings, workdir=tmp_path)
    assert (curve.outcome, curve.best, curve.before) == ("no gain", 0, 100.0)
    assert model is digits.dense


@pytest.mark.parametrize(
    "settings",
    [
        RecoverSettings(optimizer=Optimizer.SGD, learning_rate=0.05, schedule=Schedule.PLATEAU, augment=()),
        RecoverSettings(optimizer=Optimizer.RMSPROP, learning_rate=0.002, batch_norm=BatchNorm.FROZEN),
        RecoverSettings(learning_rate=0.01, hint=Hint.ATTENTION, augment=(Augment.CROP, Augment.NOISE)),
        RecoverSettings(learning_rate=0.01, augment=(Augment.MIXUP,), schedule=Schedule.CONSTANT),
    ],
    ids=["sgd", "rmsprop", "attention", "mixup"],
)
def test_every_kind_of_training_gains(settings: RecoverSettings, digits: Digits, tmp_path: Path) -> None:
    _, curve = recover(digits, dataclasses.replace(settings, epochs=3), tmp_path, labels=True)
    assert curve.outcome == "recovered"
    assert curve.after > curve.before + 20


def test_time_and_patience_end_it(digits: Digits, tmp_path: Path) -> None:
    _, short = recover(digits, RecoverSettings(max_seconds=0.01), _folder(tmp_path / "a"))
    assert len(short.epochs) == 1
    _, stale = recover(digits, RecoverSettings(learning_rate=1e-12, patience=2), _folder(tmp_path / "b"))
    assert len(stale.epochs) - stale.best == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.take(slice(0, 1)), "1 training sample"),
        (lambda s: Samples(s.inputs, {name: y * 0 + 3 for name, y in s.targets.items()}), "all of class 3"),
        (lambda s: Samples(s.inputs, {name: y + 1 for name, y in s.targets.items()}), "label 10; the model tells 10"),
        (lambda s: Samples({name: x * np.nan for name, x in s.inputs.items()}, s.targets), "NaN or infinity"),
        (lambda s: Samples({name: x[:, 1:] for name, x in s.inputs.items()}, s.targets), "samples of shape"),
    ],
    ids=["one sample", "one class", "out of range", "nan", "shape"],
)
def test_samples_that_train_nothing(change: Any, message: str, digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        recover_model(
            digits.pruned, digits.dense, change(digits.train), digits.selection, settings=FAST, workdir=tmp_path
        )


def test_a_full_disk_is_the_systems_fault(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        recover(digits, FAST, tmp_path)
    assert not list(tmp_path.glob("*.part"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
