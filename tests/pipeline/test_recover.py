"""Builds that recover: trained on the data after pruning and thinning out, gone on with when killed, told in full."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from edgekit.cli.tables import print_build
from edgekit.core import events
from edgekit.core.digest import digest_file
from edgekit.core.errors import UsageError
from edgekit.core.recipe import RecoverSection
from edgekit.core.recipe_file import COMPRESSIONS, load_recipe
from edgekit.core.resources import resource
from edgekit.passes.recover.settings import Augment, BatchNorm, Hint, Optimizer, RecoverSettings, Schedule
from edgekit.pipeline import stages
from edgekit.pipeline.build import build

_TARGET = "intel-cpu"
_FAST: Any = {"recover": True, "epochs": 2, "learning_rate": 1e-3}


def _built(out: Path, flags: Any, **more: Any) -> Any:
    """The report of one target, which has an artifact."""
    target = build("digits-cnn", [_TARGET], flags=flags, out=out, **more).targets[0]
    assert target.error is None
    return target


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("recovered") / "out"
    flags: Any = {
        "shrink": {"prune": 0.9, "importance": "random"},
        "recover": _FAST,
        "precision": {"precision": "fp32"},
    }
    return out, build("digits-cnn", [_TARGET], flags=flags, out=out)


def test_training_wins_back_what_pruning_cost(recovered):
    target = recovered[1].targets[0]
    assert target.error is None
    (curve,) = target.recovered
    assert curve.outcome == "recovered"
    assert len(curve.epochs) == 2
    assert curve.after > curve.before
    assert target.pruned.macs == pytest.approx(0.1, abs=0.03)


def test_the_curve_is_in_the_report_and_without_a_clock_in_the_manifest(recovered):
    out, report = recovered
    told = json.loads((out / _TARGET / "report.json").read_text())["recovered"]
    kept = json.loads((out / _TARGET / "manifest.json").read_text())["recovered"]
    assert [epoch["score"] for epoch in told[0]["epochs"]] == [e.score for e in report.targets[0].recovered[0].epochs]
    assert told[0]["epochs"][0]["seconds"] > 0
    assert "seconds" not in kept[0]["epochs"][0]
    assert "images_per_second" not in kept[0]


def test_the_splits_are_disjoint_and_training_has_what_is_left(recovered):
    splits = json.loads((recovered[0] / _TARGET / "manifest.json").read_text())["splits"]
    assert set(splits) == {"calibration", "selection", "report", "training"}
    assert splits["training"]["n"] > splits["calibration"]["n"]


def test_the_table_says_what_training_brought(recovered, capsys):
    print_build(recovered[1])
    shown = " ".join(capsys.readouterr().out.split())
    assert "trained for" in shown
    assert "on the selection split; epoch" in shown


def test_in_turns_with_steps_and_thinning_and_repeated_by_the_lock(tmp_path):
    """A training follows each of two steps of pruning, most of the zeros, all of them, and the code books."""
    shrink = {"prune": 0.5, "prune_steps": 2, "sparsity": 0.5, "clusters": 16}
    flags: Any = {"shrink": shrink, "recover": {**_FAST, "epochs": 10}, "precision": {"precision": "fp32"}}
    first = _built(tmp_path, flags)
    assert [len(curve.epochs) for curve in first.recovered] == [2, 2, 2, 2, 2]
    assert first.pruned.macs == pytest.approx(0.5, abs=0.03)
    assert first.thinned.sparsity == pytest.approx(0.5, abs=0.01)
    assert all(layer["code_book"] == 16 for layer in first.thinned.layers)
    assert {group["name"]: group["channels"] for group in first.pruned.groups} == {"stem": 64, "widen": 96}
    lock = (tmp_path / "edgekit.lock").read_text()
    manifest = (tmp_path / _TARGET / "manifest.json").read_text()
    assert len(json.loads(lock)["pruning"][_TARGET]["kept"]) == 2
    _built(tmp_path, flags)
    assert (tmp_path / "edgekit.lock").read_text() == lock
    assert (tmp_path / _TARGET / "manifest.json").read_text() == manifest


def test_how_long_a_clock_let_it_train_is_repeated_by_the_lock_without_training_again(tmp_path):
    flags: Any = {
        "shrink": {"prune": 0.9, "importance": "random"},
        "recover": {"recover": True, "max_seconds": 20.0, "learning_rate": 1e-3},
        "precision": {"precision": "fp32"},
    }
    (curve,) = _built(tmp_path, flags).recovered
    lock = json.loads((tmp_path / "edgekit.lock").read_text())
    assert lock["training"][_TARGET]["epochs"] == [curve.planned]
    began: list[str] = []
    with events.listening(lambda event: began.append(event.text) if event.kind == "progress" else None):
        (again,) = _built(tmp_path, flags).recovered
    assert again == curve
    assert not any("recovering" in text for text in began)


def test_without_labels_the_original_teaches(tmp_path):
    flags: Any = {
        "shrink": {"prune": 0.9, "importance": "random"},
        "recover": {**_FAST, "epochs": 8},
        "precision": {"precision": "fp32"},
        "data": {"labels": False},
    }
    target = _built(tmp_path, flags)
    (curve,) = target.recovered
    assert curve.metric == "agreement"
    assert curve.after > curve.before


def test_the_original_learns_first_by_labels_alone_and_the_smaller_one_from_it(tmp_path, monkeypatch):
    asked: list[RecoverSettings] = []

    def listened(*args: Any, **more: Any) -> Any:
        asked.append(args[-1])
        return train(*args, **more)

    train = stages.recover
    monkeypatch.setattr("edgekit.pipeline.recover.recover", listened)
    flags: Any = {
        "shrink": {"prune": 0.9, "importance": "random"},
        "recover": {**_FAST, "epochs": 3, "original_first": True, "label_share": 0},
        "precision": {"precision": "fp32"},
    }
    original, smaller = _built(tmp_path, flags).recovered
    assert [settings.label_share for settings in asked] == [1, 0]
    assert len(original.epochs) == len(smaller.epochs) == 1
    assert smaller.before < original.before
    assert json.loads((tmp_path / "edgekit.lock").read_text())["training"][_TARGET]["epochs"] == [1, 1]


def test_without_labels_the_original_has_nothing_to_learn(tmp_path):
    flags: Any = {
        "shrink": {"prune": 0.5},
        "recover": {**_FAST, "original_first": True},
        "data": {"labels": False},
    }
    target = build("digits-cnn", [_TARGET], flags=flags, out=tmp_path).targets[0]
    assert target.exit_code == 9
    assert target.error
    assert "no labels for it to learn from" in target.error["cause"]


def test_alone_it_trains_the_network_as_it_is(tmp_path):
    flags: Any = {"recover": _FAST, "precision": {"precision": "fp32"}}
    target = _built(tmp_path, flags)
    assert target.pruned is None
    assert len(target.recovered) == 1


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(recovered, tmp_path):
    """The whole group dies in the middle of training; the next build finds the epochs that were done."""
    store, out = tmp_path / "store", tmp_path / "out"
    argv = [
        sys.executable, "-m", "edgekit", "build", "digits-cnn", "-t", _TARGET, "--prune", "0.9", "--recover",
        "--epochs", "10", "--precision", "fp32", "--out", str(out),
    ]  # fmt: skip
    env = {**os.environ, "EDGEKIT_CACHE": str(store)}

    def run_on() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, env=env, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    running = run_on()
    while not (begun := [*store.glob("unfinished/*/checkpoint*")]):
        assert running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert not list(store.glob("recover/*"))
    before = begun[0].parent
    assert before.exists()
    assert run_on().communicate()[0] is not None
    assert not before.exists()
    killed = digest_file(next((out / _TARGET).glob("*.bin")))
    shutil.rmtree(store / "recover")
    shutil.rmtree(out)
    run_on().communicate()
    assert digest_file(next((out / _TARGET).glob("*.bin"))) == killed


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_each_word_is_a_recipe_that_can_be_copied(name, tmp_path):
    shipped = resource(f"recipes/{name}.toml")
    copied = load_recipe(Path(shutil.copy(shipped, tmp_path)), {})
    assert copied == load_recipe(None, {}, compress=name)
    assert copied.recover.recover
    assert copied.shrink.prune


def test_a_recipe_and_flags_win_over_the_word(tmp_path):
    own = tmp_path / "edgekit.toml"
    own.write_text("[shrink]\nprune = 0.2\n")
    assert load_recipe(own, {}, compress="balanced").shrink.prune == 0.2
    faster = load_recipe(own, {"shrink": {"speedup": 2.0}}, compress="balanced")
    assert (faster.shrink.prune, faster.shrink.speedup) == (None, 2.0)
    assert faster.recover.recover


def test_a_compressed_build(tmp_path):
    flags: Any = {"recover": {"epochs": 2}, "precision": {"precision": "int8"}}
    target = _built(tmp_path, flags, compress="light")
    assert target.metrics[0].drop < 1
    assert target.bytes < target.pruned.dense_bytes
    content = tomllib.loads(resource("recipes/light.toml").read_text())
    recipe = json.loads((tmp_path / _TARGET / "manifest.json").read_text())["recipe"]
    assert recipe["shrink"]["prune"] == content["shrink"]["prune"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"recover": {"epochs": 3}}, "nothing says that"),
        ({"recover": {"original_first": True}}, "original_first says how to recover, and nothing says that"),
        ({"recover": {"recover": True, "epochs": 0}}, "epochs"),
        ({"recover": {"recover": True, "label_share": 2}}, "label-share"),
        ({"recover": {"recover": True}, "data": {"none": True}}, "learns from data"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(flags, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        build("digits-cnn", [_TARGET], flags=flags, out=tmp_path)


def test_a_word_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="none of light, balanced, extreme"):
        build("digits-cnn", [_TARGET], compress="mild", out=tmp_path)


def test_a_recipe_knows_what_training_takes():
    """Core can't import the passes: the two lists of words are held together here."""
    hints = get_type_hints(RecoverSection)
    settings = get_type_hints(RecoverSettings)
    said = RecoverSection.model_fields.keys() - {"recover", "qat", "qat_bits", "original_first"}
    assert said <= settings.keys()
    for key, enum in {"optimizer": Optimizer, "schedule": Schedule, "hint": Hint, "batch_norm": BatchNorm}.items():
        assert set(get_args(get_args(hints[key])[0])) == set(enum)
    assert set(get_args(get_args(get_args(hints["augment"])[0])[0])) == set(Augment)


def test_one_sample_a_class_is_too_few(tmp_path):
    source = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 1))
    data = tmp_path / "few.npz"
    np.savez(data, x=source, y=np.arange(8))
    flags: Any = {"recover": _FAST, "data": {"data": str(data), "normalize": "none"}}
    target = build("digits-cnn", [_TARGET], flags=flags, out=tmp_path / "out").targets[0]
    assert target.exit_code != 0
