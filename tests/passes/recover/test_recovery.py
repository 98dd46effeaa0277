"""A pruned network gets its accuracy back; whatever goes wrong on the way, no weights are worse than before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgekit.core import events
from edgekit.core.plain import from_json, to_json
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.recover.batch_norm import has_batch_norm
from edgekit.passes.recover.recovery import recover_model
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


def test_a_folded_network_gets_its_batch_norm_back(digits: Digits, tmp_path: Path) -> None:
    folded, _ = apply(digits.pruned, FUSION, 0, until_stable=True)
    train, selection = digits.train.unlabelled(), digits.selection.unlabelled()
    settings = RecoverSettings(epochs=6)
    model, _ = recover_model(folded, digits.dense, train, selection, settings=settings, workdir=tmp_path)
    assert has_batch_norm(model)
    assert not has_batch_norm(folded)
    assert digits.top1(model) > 97.5


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


def test_what_another_edgekit_left_half_done_begins_anew(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(FAST, epochs=1)
    recover(digits, settings, tmp_path)
    trained: list[str] = []
    with events.listening(lambda event: trained.append(event.text)):
        recover(digits, settings, tmp_path)
        assert not [text for text in trained if "epoch 1 of 1" in text], "its checkpoint says that it is done"
        monkeypatch.setattr("edgekit.passes.recover.setup.own_sources", lambda: "another")
        recover(digits, settings, tmp_path)
    assert [text for text in trained if "epoch 1 of 1" in text]


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
    _, unsaid = recover(digits, RecoverSettings(learning_rate=1e-12, epochs=50), _folder(tmp_path / "c"))
    assert len(unsaid.epochs) - unsaid.best == 25


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
