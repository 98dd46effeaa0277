"""Builds that train in int8: int8 is compiled from what was trained, float from what was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli.tables import print_build
from edgekit.core import events
from edgekit.core.errors import UsageError
from edgekit.pipeline.build import build

_TARGET = "intel-cpu"
_QAT: Any = {"qat": True, "epochs": 2, "learning_rate": 1e-3}


def _built(out: Path, **flags: Any) -> Any:
    report = build("digits-cnn", [_TARGET], flags=flags, out=out)
    assert report.targets[0].error is None
    return report


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("trained") / "out"
    return out, _built(out, recover=_QAT, precision={"precision": "int8"})


def test_alone_it_is_one_training_and_says_so(trained, capsys):
    out, report = trained
    (target,) = report.targets
    (curve,) = target.recovered
    assert curve.in_int8
    assert len(curve.epochs) == 2
    assert curve.after >= curve.before > 90
    assert (target.precision, target.metrics[0].drop < 1) == ("int8", True)
    print_build(report)
    assert "trained in int8 for" in " ".join(capsys.readouterr().out.split())
    manifest = json.loads((out / _TARGET / "manifest.json").read_text())
    assert manifest["recipe"]["recover"]["qat"]
    assert manifest["recovered"][0]["in_int8"]
    assert {precision for _, precision in manifest["plan"]["layers"]} == {manifest["plan"]["default"]} == {"int8"}
    assert json.loads((out / "edgekit.lock").read_text())["training"][_TARGET]["epochs"] == [2]


def test_the_lock_repeats_it_without_training_again(trained):
    out, first = trained
    manifest = (out / _TARGET / "manifest.json").read_text()
    began: list[str] = []
    with events.listening(lambda event: began.append(event.text) if event.kind == "progress" else None):
        again = _built(out, recover=_QAT, precision={"precision": "int8"})
    assert not any("recovering" in text for text in began)
    assert again.targets[0].recovered == first.targets[0].recovered
    assert (out / _TARGET / "manifest.json").read_text() == manifest


def test_after_pruning_and_recovery_it_comes_last_and_float_stays_as_it_was(tmp_path):
    shrink = {"prune": 0.5, "importance": "l2"}
    flags: Any = {"shrink": shrink, "recover": {**_QAT, "recover": True, "epochs": 5}}
    (target,) = _built(tmp_path / "both", **flags, precision={"precision": "int8"}).targets
    assert [(curve.in_int8, len(curve.epochs)) for curve in target.recovered] == [(False, 4), (True, 1)]
    assert target.recovered[1].metric == "top1"
    assert target.pruned.macs == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"recover": {"qat": True}, "precision": {"precision": "fp32"}}, "trains for int8"),
        ({"recover": {"qat": True}, "data": {"none": True}}, "learns from data"),
        ({"recover": {"qat_bits": 4}}, "nothing says that"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(flags, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        build("digits-cnn", [_TARGET], flags=flags, out=tmp_path)
