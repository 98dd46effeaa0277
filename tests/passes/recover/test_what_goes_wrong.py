"""Data that train nothing, a training that diverges, a full disk: one clear error, or the promised fall-back."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core import events
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.model import Model
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.settings import BatchNorm, LearningCurve, Optimizer, RecoverSettings
from edgekit.passes.recover.training import written_back
from tests.passes.recover.conftest import Digits

FAST = RecoverSettings(epochs=4, learning_rate=0.01)
IMAGE, DIGIT = "image", "digit"


def recover(
    digits: Digits,
    folder: Path,
    settings: RecoverSettings = FAST,
    *,
    train: Samples | None = None,
    selection: Samples | None = None,
) -> tuple[Model, LearningCurve]:
    train = digits.train.unlabelled() if train is None else train
    selection = digits.selection.unlabelled() if selection is None else selection
    return recover_model(digits.pruned, digits.dense, train, selection, settings=settings, workdir=folder)


def images(change: Callable[[Array], Any]) -> Callable[[Samples], Samples]:
    return lambda samples: Samples({IMAGE: change(np.array(samples.inputs[IMAGE]))}, samples.targets)


def labels(change: Callable[[Array], Any]) -> Callable[[Samples], Samples]:
    return lambda samples: Samples(samples.inputs, {DIGIT: change(np.array(samples.targets[DIGIT]))})


def row(number: int, value: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        changed = array.astype(np.float32)
        changed[number] = value
        return changed

    return change


HOSTILE: dict[str, tuple[Callable[[Samples], Samples], str]] = {
    "no sample": (lambda s: s.take(slice(0, 0)), "there are 0 ROLE samples: nothing can be learnt from that"),
    "one sample": (lambda s: s.take(slice(0, 1)), "there is 1 ROLE sample: nothing can be learnt from that"),
    "one class": (labels(lambda y: y * 0 + 3), "ROLE: the targets of 'digit' are all of class 3"),
    "label too high": (labels(lambda y: y + 1), "ROLE: the targets of 'digit' hold the label 10; the model tells 10"),
    "label below 0": (labels(lambda y: y - 1), "ROLE: the targets of 'digit' hold the label -1; the model tells 10"),
    "no label counts": (labels(lambda y: np.full(len(y), 255, np.uint8)), "ROLE: the targets of 'digit' are all 255"),
    "labels as floats": (labels(lambda y: y.astype(np.float32)), r"float32 of shape \(\) a sample, the output is of"),
    "labels as words": (labels(lambda y: y.astype(str)), "ROLE: the targets of 'digit' are <U"),
    "label maps": (labels(lambda y: np.tile(y[:, None], 3)), r"of shape \(3,\) a sample, the output is of \(10,\)"),
    "a label too few": (labels(lambda y: y[1:]), r"ROLE: the targets of 'digit' are \d+ for \d+ samples"),
    "shares with NaN": (
        labels(lambda y: row(7, np.nan)(np.eye(10)[y])),
        "'digit' hold NaN or infinity, first in",
    ),
    "another output": (lambda s: Samples(s.inputs, {"y": s.targets[DIGIT]}), "ROLE: the model has no output 'y'"),
    "another input": (lambda s: Samples({"x": s.inputs[IMAGE]}), "the ROLE samples lack the input 'image'"),
    "NaN": (images(row(77, np.nan)), "ROLE: the input 'image' holds NaN or infinity, first in row 77"),
    "infinity": (images(row(5, np.inf)), "ROLE: the input 'image' holds NaN or infinity, first in row 5"),
    "shape": (images(lambda x: x[:, 1:]), r"takes samples of shape \(8, 8, 1\), not \(7, 8, 1\)"),
    "no numbers": (images(lambda x: x.astype(str)), "ROLE: the input 'image' holds no numbers but <U"),
}


@pytest.mark.parametrize("role", ["training", "selection"])
@pytest.mark.parametrize("case", HOSTILE)
def test_samples_that_train_nothing_are_an_error_before_any_work(
    case: str, role: str, digits: Digits, tmp_path: Path
) -> None:
    change, message = HOSTILE[case]
    train = change(digits.train) if role == "training" else digits.train
    selection = change(digits.selection) if role == "selection" else digits.selection
    with pytest.raises(InvalidInputError, match=message.replace("ROLE", role)) as caught:
        recover(digits, tmp_path, train=train, selection=selection)
    assert caught.value.blame == "your data"
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_an_input_that_overflows_the_original_is_an_error(digits: Digits, tmp_path: Path) -> None:
    selection = images(row(3, 3e38))(digits.selection)
    with pytest.raises(InvalidInputError, match="the original model answers NaN or infinity at output 'digit'"):
        recover(digits, tmp_path, selection=selection)


def test_a_network_that_answers_nan_is_not_trained(digits: Digits, tmp_path: Path) -> None:
    name = next(name for name in digits.pruned.graph.initializers if name.endswith("/B"))
    value = digits.pruned.graph.initializers[name].const_value
    assert value is not None
    broken = written_back(digits.pruned, {name: value.numpy() * np.nan})
    with pytest.raises(InvalidInputError, match="the model to train answers NaN or infinity"):
        recover(digits._replace(pruned=broken), tmp_path)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (RecoverSettings(epochs=3, learning_rate=1e6, optimizer=Optimizer.SGD, clip=1e9, warmup=0.0), images(np.array)),
        (FAST, images(row(11, 1e38))),
    ],
    ids=["a rate too high", "a sample that overflows"],
)
def test_where_no_epoch_was_better_before_it_diverged_the_weights_stay(
    settings: RecoverSettings, change: Callable[[Samples], Samples], digits: Digits, tmp_path: Path
) -> None:
    with _warnings() as heard:
        model, curve = recover(digits, tmp_path, settings, train=change(digits.train))
    assert (curve.outcome, curve.best, curve.after) == ("diverged", 0, curve.before)
    assert curve.note in heard
    assert "training diverged in epoch 1 (loss" in curve.note
    assert "the weights stay as they were" in curve.note
    assert model is digits.pruned


def test_divergence_later_keeps_the_best_epoch(digits: Digits, tmp_path: Path) -> None:
    """The rate rises from step to step: at first it suits, then it is far too high."""
    settings = RecoverSettings(
        epochs=15,
        learning_rate=0.06,
        optimizer=Optimizer.SGD,
        clip=1e9,
        warmup=1.0,
        batch_norm=BatchNorm.FROZEN,
    )
    with _warnings() as heard:
        model, curve = recover(digits, tmp_path, settings)
    assert curve.outcome == "diverged"
    assert f"the weights of epoch {curve.best} were kept" in curve.note
    assert curve.note in heard
    assert curve.after == max(epoch.score for epoch in curve.epochs) > curve.before
    assert digits.top1(model) > digits.top1(digits.pruned)


def test_a_disk_that_fills_up_costs_nothing_but_time(digits: Digits, tmp_path: Path) -> None:
    """The third checkpoint finds no room; the second stays, and the same call goes on from there."""
    whole, _ = recover(digits, _folder(tmp_path / "whole"))
    workdir, before = _folder(tmp_path / "full"), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(event: events.Event) -> None:
        if "epoch 3 of 4" in event.text:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    try:
        with events.listening(fill_up), pytest.raises(UsageError, match="File too large") as caught:
            recover(digits, workdir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.blame == "this machine"
    assert "free space" in caught.value.remedy
    assert "goes on from there" in caught.value.remedy
    assert [file.name for file in workdir.iterdir()] == ["checkpoint"]
    heard: list[str] = []
    with events.listening(lambda event: heard.append(event.text)):
        again, _ = recover(digits, workdir)
    assert "epoch 4 of 4" in heard[0]
    assert again.digest == whole.digest


@pytest.mark.parametrize("file", ["teacher-0", "checkpoint"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="not on this machine: /dev/full")
def test_no_space_is_the_machines_fault_and_leaves_nothing_half_made(file: str, digits: Digits, tmp_path: Path) -> None:
    """What is written to /dev/full meets a full disk. As nothing half-made stays, the next call meets another one."""
    settings = RecoverSettings(epochs=1, learning_rate=0.01, augment=())
    half = tmp_path / f"{file}.part"
    half.symlink_to("/dev/full")
    with pytest.raises(UsageError, match="No space left on device"):
        recover(digits, tmp_path, settings)
    assert not list(tmp_path.glob("*.part"))
    _, curve = recover(digits, tmp_path, settings)
    assert curve.outcome == "recovered"
    assert {found.name for found in tmp_path.iterdir()} == {"teacher-0.npy", "checkpoint"}


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    heard: list[str] = []
    with events.listening(lambda event: heard.append(event.text) if event.kind == "warning" else None):
        yield heard


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
