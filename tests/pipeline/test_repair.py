"""Builds in which int8 is repaired: chosen on the selection split, told, locked, and left out where it has no place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.backends.base import load_backend
from edgekit.cli.tables import print_build
from edgekit.core import events
from edgekit.core.errors import UsageError
from edgekit.core.evidence import PrecisionProof
from edgekit.core.recipe import Recipe
from edgekit.core.repair import PLAIN, Repair
from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.pipeline.build import build
from edgekit.pipeline.job import Job
from edgekit.pipeline.lock import Lock
from edgekit.pipeline.repair import repaired, repairs
from edgekit.pipeline.stages import prepare_data
from edgekit.pipeline.store import default_store
from edgekit.pipeline.survey import survey
from edgekit.pipeline.targets import load_target
from edgekit.pipeline.trial import TargetJob
from edgekit.report.gates import inside_accuracy

_TARGET = "intel-cpu"
_ZOO = Path(__file__).parents[2] / "models" / "digits-cnn"
_SOURCE = _ZOO / "digits-cnn.onnx"
_EVERYTHING = Repair("mse", "adaptive", bias_correction=True)
_RANGES_ALONE = {"ranges": "percentile", "rounding": "nearest", "bias_correction": False}


def _flags(**precision: Any) -> Any:
    return {
        "data": {"train": str(_ZOO / "train.npz"), "eval": str(_ZOO / "eval.npz")},
        "precision": {"precision": "int8", **precision},
        "run": {"backend": "onnxruntime", "devices": ["local"]},
    }


def _built(out: Path, **precision: Any) -> Any:
    report = build(str(_SOURCE), [_TARGET], flags=_flags(**precision), out=out)
    assert report.targets[0].error is None
    return report


def _read(out: Path, name: str) -> Any:
    return json.loads((out / name).read_text())


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """digits-cnn on ONNX Runtime, whose own quantizer leaves it below 35 dB."""
    out = tmp_path_factory.mktemp("mended") / "out"
    return out, _built(out)


def test_what_does_best_on_the_selection_split_is_kept_and_told(mended, capsys):
    out, report = mended
    found = report.targets[0].repaired
    plain, chosen = found.tried
    assert found.repair == _EVERYTHING
    assert (plain["repair"], chosen["repair"]) == ("none", str(_EVERYTHING))
    assert plain["sqnr"] < 35 < plain["sqnr"] + 3 < chosen["sqnr"]
    (near,) = (metric.artifact for metric in report.targets[0].metrics if metric.name == "logits_sqnr")
    assert near > plain["sqnr"] + 3
    assert _read(out, f"{_TARGET}/manifest.json")["repair"] == vars(_EVERYTHING)
    assert _read(out, f"{_TARGET}/report.json")["repaired"]["repair"] == vars(_EVERYTHING)
    print_build(report)
    said = " ".join(capsys.readouterr().out.split())
    assert "int8 repaired: ranges by squared error, adaptive rounding, bias correction" in said
    assert f"({plain['sqnr']:.1f} → {chosen['sqnr']:.1f} dB on the selection split)" in said


def test_the_lock_repeats_it_and_its_bytes(mended):
    out, first = mended
    kept = _read(out, "edgekit.lock")
    assert kept["repairs"][_TARGET]["repair"] == vars(_EVERYTHING)
    stable = [path for path in (out / _TARGET).iterdir() if path.name != "report.json"]
    before = {path: path.read_bytes() for path in stable}
    began: list[str] = []
    with events.listening(lambda event: began.append(event.text) if event.kind == "progress" else None):
        again = _built(out)
    assert not any("repair" in text or "compil" in text for text in began)
    assert again.targets[0].repaired == first.targets[0].repaired
    assert {path: path.read_bytes() for path in stable} == before


def test_a_choice_in_the_lock_is_not_made_again(mended, tmp_path):
    """Another repair in the place of the one that was chosen: the lock is believed."""
    lock = _read(mended[0], "edgekit.lock")
    lock["repairs"][_TARGET]["repair"] = vars(PLAIN)
    (tmp_path / "edgekit.lock").write_text(json.dumps(lock))
    assert _built(tmp_path).targets[0].repaired.repair == PLAIN
    assert _read(tmp_path, f"{_TARGET}/manifest.json")["repair"] == vars(PLAIN)


def test_what_is_said_is_what_is_done(mended, tmp_path, capsys):
    report = _built(tmp_path, **_RANGES_ALONE)
    assert _read(tmp_path, f"{_TARGET}/manifest.json")["repair"] == _RANGES_ALONE
    assert "repairs" not in _read(tmp_path, "edgekit.lock")
    artifacts = [next((out / _TARGET).glob("*.onnx")).read_bytes() for out in (mended[0], tmp_path)]
    assert artifacts[0] != artifacts[1]
    print_build(report)
    assert "int8 repaired: ranges by percentile" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"precision": {"precision": "fp32", "ranges": "mse"}}, "--ranges: .* the precision is to be fp32"),
        ({"precision": {"precision": "fp16", "bias_correction": True}}, "--bias-correction: .* to be fp16"),
        ({"precision": {"rounding": "adaptive"}, "data": {"none": True}}, "--rounding: .* without data"),
        ({"precision": {"ranges": "mse"}, "recover": {"qat": True}}, "--ranges: .* --qat trains"),
        ({"precision": {"rounding": "adaptive"}, "shrink": {"clusters": 16}}, "are not rounded away"),
    ],
)
def test_a_repair_without_a_place_is_refused_before_any_work(flags, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        build("digits-cnn", [_TARGET], flags=flags, out=tmp_path)


class _Foreign:
    """A back end of somebody else: it compiles as ours does, and has only what `Backend` asks for."""

    def __init__(self, *own: str) -> None:
        self._kept, self._own = load_backend("onnxruntime"), own

    def __getattr__(self, name: str) -> Any:
        if name == "integers" and name not in self._own:
            raise AttributeError(name)
        return getattr(self._kept, name)


class _Breaking(_Foreign):
    """One that proves to have computed otherwise."""

    def prove(self, plan: Any, account: Any) -> PrecisionProof:
        return replace(self._kept.prove(plan, account), violations=("a layer ran in float32",))


def _target(backend: Any = None, source: Path = _SOURCE, **precision: Any) -> TargetJob:
    recipe, store = Recipe.model_validate(_flags(**precision)), default_store()
    seen = survey(store, source, recipe.model, recipe.run.seed, {_TARGET: "onnxruntime"})
    data = prepare_data(store, seen.original, recipe.data, batch=1, seed=recipe.run.seed)
    job = Job(store, recipe, seen.original, seen.fused, seen.fused, data)
    return TargetJob(job, load_target(_TARGET), backend or load_backend("onnxruntime"))


def test_a_back_end_that_says_nothing_of_its_integers_is_left_alone():
    target = _target(_Foreign())
    assert repairs(target) == ()
    assert repaired(target, Lock()) is target
    assert repairs(_target(_Foreign(), ranges="min-max", bias_correction=False)) == ()
    with pytest.raises(UsageError, match=r"--ranges: .* does not say what int8 is to it"):
        repairs(_target(_Foreign(), ranges="mse"))


def test_a_network_that_was_trained_in_int8_is_left_alone():
    target = _target()
    assert len(repairs(target)) == 5
    assert repairs(replace(target, int8_form=target.job.fused)) == ()


def test_a_quantized_source_keeps_its_scales(mended):
    (source,) = (mended[0] / _TARGET).glob("*.onnx")
    target = _target(source=source)
    assert target.job.original.quantized
    assert repairs(target) == ()
    with pytest.raises(UsageError, match="what is quantized already keeps its scales"):
        repairs(_target(source=source, rounding="adaptive"))


def test_a_layer_that_is_lifted_from_a_repaired_network_keeps_its_weights(mended):
    target = replace(_target(), repair=mended[1].targets[0].repaired.repair)
    layer = next(str(node.name) for node in Model.load(target.model.path).graph if node.op_type == "Conv")
    plan = QuantPlan(Precision.INT8, ((layer, Precision.FP32),))
    assert inside_accuracy(target.glance(plan), None)

    def weights(path: Path) -> Any:
        proto = onnx.load(path)
        name = next(node.input[1] for node in proto.graph.node if node.name == layer)
        (tensor,) = (each for each in proto.graph.initializer if each.name == name)
        return numpy_helper.to_array(tensor)

    assert np.array_equal(weights(target.artifact(plan).path), weights(target.model.path))


def test_where_plain_int8_breaks_its_promise_nothing_is_repaired():
    lock = Lock()
    assert repaired(_target(_Breaking("integers")), lock).repair == PLAIN
    assert lock.repairs[_TARGET].tried == ()
