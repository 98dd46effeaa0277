"""Mixed precision: as few layers in float as it takes, or as many as a budget takes; kept in the lock, proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.backends.base import load_backend
from edgekit.cli.tables import print_build
from edgekit.core import events
from edgekit.core.recipe import Recipe
from edgekit.core.sensitivity import Cost, LayerCost
from edgekit.core.types import Precision, QuantPlan
from edgekit.pipeline.budget import int8_order
from edgekit.pipeline.build import build
from edgekit.pipeline.job import Job
from edgekit.pipeline.mixed import fewest, without_needless
from edgekit.pipeline.op_times import layer_us
from edgekit.pipeline.sensitivity import sensitivity_of
from edgekit.pipeline.stages import prepare_data
from edgekit.pipeline.store import default_store
from edgekit.pipeline.survey import survey
from edgekit.pipeline.targets import load_target
from edgekit.pipeline.trial import TargetJob

_ZOO = Path(__file__).parents[2] / "models" / "digits-mlp"
_DATA = {"train": str(_ZOO / "train.npz"), "eval": str(_ZOO / "eval.npz")}
_BACKENDS = {"tflite": "raspberry-pi-4", "openvino": "intel-cpu", "onnxruntime": "intel-cpu"}


class Trials:
    """Whether a set of lifted layers is enough, and how often that was asked."""

    def __init__(self, *needed: str) -> None:
        self.needed, self.count = set(needed), 0

    def __call__(self, lifted: tuple[str, ...]) -> bool:
        self.count += 1
        return self.needed <= set(lifted)


RANKING = tuple(f"layer{number}" for number in range(60))


@pytest.mark.parametrize("last", [0, 1, 2, 6, 7, 30, 58])
def test_the_shortest_beginning_of_the_ranking_that_is_enough(last: int) -> None:
    trials = Trials(RANKING[last])
    assert fewest(RANKING, trials) == RANKING[: last + 1]
    assert trials.count <= 2 * np.log2(len(RANKING)) + 1


def test_never_all_layers() -> None:
    assert fewest(RANKING, Trials(RANKING[-1])) is None
    assert fewest(RANKING[:1], Trials(RANKING[0])) is None
    assert fewest((), Trials()) is None


def test_what_is_not_needed_goes_back() -> None:
    assert without_needless(RANKING[:5], Trials("layer1", "layer4")) == ("layer1", "layer4")
    trials = Trials("layer39")
    assert len(without_needless(RANKING[:40], trials)) == 40 - trials.count


def test_what_saves_much_for_little_harm_goes_to_int8_first() -> None:
    decibels = {"a": ("Conv", 20), "relu": ("Relu", 40), "b": ("Conv", 20), "c": ("MatMul", 30), "d": ("Gemm", 60)}
    costs = [LayerCost(name, op, (), db, None, None, None, Cost(db)) for name, (op, db) in decibels.items()]
    saved = {"a": 100.0, "relu": 7.0, "b": 1000.0, "c": 300.0, "d": -1.0}
    assert int8_order(costs, saved) == [("c",), ("b",), ("a", "relu"), ("d",)]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits-mlp, with its scores carried 200 too high from one product to another that takes that off again.

    No scale, range or rounding of weights can help: in 8 bits, what lies between 0 and 200 has steps of 0.8, and the
    scores span 1.4. The second product has to be in float, and the first one to give it floats. OpenVINO's integer
    kernels can; the others' have to be lifted, too.
    """
    proto = onnx.load(_ZOO / "digits-mlp.onnx")
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    weights, bias = (numpy_helper.to_array(constants[name]) for name in ("digit/B", "digit/Add/B"))
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 10)))
    for name, values in (
        ("digit/B", weights @ turn / 16),
        ("digit/Add/B", bias @ turn / 16 + 200),
        ("back/B", turn.T),
        ("back/Add/B", -200 * turn.T.sum(axis=0)),
    ):
        changed = numpy_helper.from_array(values.astype(np.float32), name)
        if name in constants:
            constants[name].CopyFrom(changed)
        else:
            proto.graph.initializer.append(changed)
    softmax = proto.graph.node[-1]
    softmax.input[0] = "back/Add:0"
    nodes = [
        helper.make_node("Relu", ["digit/Add:0"], ["digit/Relu:0"], name="digit/Relu"),
        helper.make_node("MatMul", ["digit/Relu:0", "back/B"], ["back:0"], name="back"),
        helper.make_node("Add", ["back:0", "back/Add/B"], ["back/Add:0"], name="back/Add"),
    ]
    for node in nodes:
        proto.graph.node.insert(len(proto.graph.node) - 1, node)
    path = tmp_path_factory.mktemp("planted") / "planted.onnx"
    onnx.save(proto, path)
    return path


def _built(planted: Path, backend: str, precision: str, out: Path, **gates: Any) -> Any:
    flags: Any = {
        "data": _DATA,
        # No repair helps the planted network, and each that is tried takes its time.
        "precision": {"precision": precision, "ranges": "min-max", "rounding": "nearest", "bias_correction": False},
        "gates": gates,
        "run": {"backend": backend, "devices": ["local"]},
    }
    report = build(str(planted), [_BACKENDS[backend]], flags=flags, out=out)
    assert report.targets[0].error is None, report.targets[0].error
    return report


@pytest.mark.parametrize("backend", _BACKENDS)
def test_layers_that_only_float_can_mend_are_lifted_and_no_others(planted, tmp_path, capsys, backend):
    report = _built(planted, backend, "mixed", tmp_path / "mixed")
    target = report.targets[0]
    assert (target.candidates[0]["precision"], target.candidates[0]["accurate"]) == ("int8", False)
    assert target.candidates[0]["drop"] > 5
    assert target.precision == "mixed"
    assert target.gates[0].passed
    lifted = {layer.partition("/")[0] for layer in target.candidates[-1]["float_layers"]}
    assert lifted == ({"back"} if backend == "openvino" else {"digit", "back"})
    folder = tmp_path / "mixed"
    choice = json.loads((folder / "edgekit.lock").read_text())["choices"][target.target]
    assert (choice["precision"], {name.partition("/")[0] for name, _ in choice["layers"]}) == ("mixed", lifted)
    manifest = json.loads((folder / target.target / "manifest.json").read_text())
    assert dict(choice["layers"]).items() <= dict(manifest["plan"]["layers"]).items()
    assert set(dict(choice["layers"]).values()) == {"fp32" if backend == "onnxruntime" else "fp16"}
    print_build(report)
    assert "mixed" in capsys.readouterr().out

    began: list[str] = []
    with events.listening(lambda event: began.append(event.text) if event.kind == "progress" else None):
        again = _built(planted, backend, "mixed", folder).targets[0]
    assert (again.precision, again.candidates) == ("mixed", target.candidates)
    assert not any("compiling" in text for text in began)


def test_what_a_size_leaves_room_for_is_lifted_too(planted, tmp_path):
    """In bytes `second` is most of the network: it stays int8, and `first` need not."""
    out, most = tmp_path / "out", 180_000
    target = _built(planted, "onnxruntime", "mixed", out, max_size_bytes=most).targets[0]
    int8, needed, spent = target.candidates
    assert int8["bytes"] < needed["bytes"] < spent["bytes"] == target.bytes <= most
    lifted = [{layer.partition("/")[0] for layer in row["float_layers"]} for row in (needed, spent)]
    assert lifted[0] == {"digit", "back"}
    assert "first" in lifted[1] - lifted[0]
    assert "second" not in lifted[1]
    assert _built(planted, "onnxruntime", "mixed", out, max_size_bytes=most).targets[0].candidates == target.candidates
    auto = _built(planted, "onnxruntime", "auto", tmp_path / "auto", max_size_bytes=most).targets[0]
    assert [row["float_layers"] for row in auto.candidates if row["precision"] == "mixed"] == [spent["float_layers"]]


def test_a_size_that_even_int8_exceeds_is_told_and_one_that_float_keeps_changes_nothing(planted, tmp_path):
    said: list[str] = []
    with events.listening(lambda event: said.append(event.text) if event.kind == "warning" else None):
        small = _built(planted, "onnxruntime", "mixed", tmp_path, max_size_bytes=50_000).targets[0]
    assert any("even int8 is outside the budget" in text and "where --max-size is 50,000" in text for text in said)
    assert (small.precision, small.exit_code, len(small.candidates)) == ("mixed", 5, 2)
    large = _built(planted, "onnxruntime", "mixed", tmp_path, max_size_bytes=10**6).targets[0]
    assert large.candidates == small.candidates


@pytest.mark.parametrize("plan", [QuantPlan(Precision.FP32), QuantPlan(Precision.INT8)])
def test_the_profile_knows_the_layers_that_multiply(plan, planted):
    recipe, store = Recipe.model_validate({"data": _DATA}), default_store()
    seen = survey(store, planted, recipe.model, recipe.run.seed, {"intel-cpu": "onnxruntime"})
    data = prepare_data(store, seen.original, recipe.data, batch=1, seed=recipe.run.seed)
    job = Job(store, recipe, seen.original, seen.fused, seen.fused, data)
    samples, targets = job.judging
    found = sensitivity_of(store, seen.fused, calibration=job.calibration, samples=samples, targets=targets)
    times = layer_us(TargetJob(job, load_target("intel-cpu"), load_backend("onnxruntime")), found, plan)
    assert {ranges.layer for ranges in found.ranges if ranges.macs} <= times.keys()


def test_what_is_right_in_int8_stays_whole(tmp_path):
    flags: Any = {"precision": {"precision": "mixed"}, "run": {"backend": "onnxruntime", "devices": ["local"]}}
    target = build("digits-mlp", ["intel-cpu"], flags=flags, out=tmp_path).targets[0]
    assert (target.precision, [row["precision"] for row in target.candidates]) == ("int8", ["int8"])
