"""Training in int8: it wins back what few bits cost, and what was trained is what back ends make of it, to the step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import CompileRequest, IntegerBackend
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.backends.openvino import OpenVINOBackend
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core import events
from edgekit.core.types import Integers, Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.ir.model import Model
from edgekit.ir.quantization import made_for, recorded_params
from edgekit.lowering.module import LoweredModule
from edgekit.passes.cluster.clustering import ClusterWeights, code_books
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.layer_weights import layer_weights
from edgekit.passes.quantize import Range, measure_ranges
from edgekit.passes.recover.fake_quantize import FakeQuantization
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.samples import Array
from edgekit.passes.recover.settings import RecoverSettings
from edgekit.passes.sparsify.masks import masks
from edgekit.passes.sparsify.sparsify import Sparsify
from tests.passes.recover.conftest import Digits

# Of weights that are −1, 0 or 1 times a scale, nothing works before training.
TERNARY = Integers(top=1, answers=True)
FAST = RecoverSettings(epochs=2, learning_rate=1e-3)
BACKENDS = (TFLiteBackend(), OpenVINOBackend(), OnnxRuntimeBackend())


def trained(digits: Digits, settings: RecoverSettings, folder: Path, model: Model | None = None) -> Any:
    train, selection = digits.train.unlabelled(), digits.selection.unlabelled()
    return recover_model(model or digits.dense, digits.dense, train, selection, settings=settings, workdir=folder)


def simulated(model: Model, integers: Integers, images: Array) -> Array:
    """What the training graph answers to images, rounding as an int8 form has it recorded."""
    module = LoweredModule(model)
    known = {name: Range(params.low, params.high) for name, params in recorded_params(model).items()}
    (spec,) = model.inputs
    fake = FakeQuantization(model, module.weights, measure_ranges(model, {spec.name: images}) | known, integers)
    answers: Array = module.activations(images, simulation=fake)[model.outputs[0].name].value.numpy()
    return answers


def logits(digits: Digits) -> Digits:
    """The network without its softmax, whose steps can be seen."""
    model = digits.dense.clone()
    softmax = model.graph.outputs[0].producer()
    assert softmax is not None
    assert softmax.op_type == "Softmax"
    source = softmax.inputs[0]
    assert source is not None
    model.graph.outputs[0] = source
    model.graph.remove(softmax, safe=True)
    (name,) = digits.train.targets
    assert source.name != name
    return digits._replace(dense=model, train=digits.train.unlabelled(), selection=digits.selection.unlabelled())


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: str(backend.name))
def test_the_artifact_answers_as_the_training_graph_did(
    backend: IntegerBackend, digits: Digits, tmp_path: Path
) -> None:
    digits, integers = logits(digits), backend.integers(saturates=True)
    model, curve = trained(digits, dataclasses.replace(FAST, integers=integers), tmp_path)
    (spec,), images = model.inputs, next(iter(digits.selection.inputs.values()))
    promised = simulated(model, integers, images)
    _save(tmp_path, model, {spec.name: images})
    request = CompileRequest(tmp_path / "model.onnx", QuantPlan(Precision.FP32), None, None, _new(tmp_path / "float"))
    int8 = dataclasses.replace(
        request,
        plan=QuantPlan(Precision.INT8),
        baseline=backend.compile(request),
        calibration=tmp_path / "samples.npz",
        workdir=_new(tmp_path / "int8"),
    )
    artifact = backend.compile(int8)
    measured, _ = measure(
        artifact.path, options=artifact.runtime_options, inputs=tmp_path / "samples.npz",
        outputs=tmp_path / "answers.npz", runtime=backend.runtime, timing=False,
    )  # fmt: skip
    assert artifact.plan == int8.plan
    assert backend.prove(artifact.plan, measured[0].account).violations == ()
    with np.load(tmp_path / "answers.npz") as archive:
        (found,) = archive.values()
    step = (promised.max() - promised.min()) / 255
    assert np.abs(found - promised).max() <= 2 * step
    assert (found.argmax(1) == promised.argmax(1)).mean() >= 0.99
    assert curve.metric == "sqnr"


def test_training_wins_back_what_few_bits_cost(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, epochs=3, integers=TERNARY)
    model, curve = trained(digits, settings, tmp_path)
    assert curve.before < 50
    assert curve.after > 90
    assert digits.top1(model) > 90
    assert made_for(model) == 1
    for layer in layer_weights(model):
        by_channel = np.moveaxis(layer.content, layer.made, 0)
        assert all(len(np.unique(np.abs(channel))) <= 2 for channel in by_channel)
    images = next(iter(digits.selection.inputs.values()))
    wanted = simulated(digits.dense, Integers(), images).argmax(1)
    assert 100 * (simulated(model, TERNARY, images).argmax(1) == wanted).mean() == pytest.approx(curve.after, abs=1)


def test_a_training_in_int8_that_was_killed_ends_with_the_same_bytes(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, integers=TERNARY)
    whole, _ = trained(digits, settings, _new(tmp_path / "whole"))

    def kill(event: events.Event) -> None:
        if "epoch 2 of 2" in event.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), events.listening(kill):
        trained(digits, settings, _new(tmp_path / "killed"))
    again, curve = trained(digits, settings, tmp_path / "killed")
    assert [epoch.number for epoch in curve.epochs] == [1, 2]
    assert again.digest == whole.digest


def test_where_nothing_is_gained_it_is_int8_untrained(digits: Digits, tmp_path: Path) -> None:
    settings = RecoverSettings(epochs=1, learning_rate=10.0, integers=Integers(answers=True))
    model, curve = trained(digits, settings, tmp_path)
    assert curve.best == 0
    assert digits.top1(model) > 98
    assert recorded_params(model).keys() >= {spec.name for spec in model.inputs}
    fused, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    for before, after in zip(layer_weights(fused), layer_weights(model), strict=True):
        assert np.abs(after.content - before.content).max() <= np.abs(before.content).max() / 254


def test_symmetric_scales_have_their_zero_in_the_middle_or_at_the_end(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, epochs=1, integers=Integers(top=63, symmetric=True))
    model, _ = trained(digits, settings, tmp_path)
    assert {params.zero_point for params in recorded_params(model).values()} <= {-128, 0}


def test_zeros_and_code_books_outlast_it(digits: Digits, tmp_path: Path) -> None:
    fused, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    thin, _ = apply(fused, [Sparsify(0.5), ClusterWeights(16)], 0)
    settings = dataclasses.replace(FAST, epochs=1, integers=Integers(), thinned=True)
    model, _ = trained(digits, settings, tmp_path, thin)
    before, after = masks(thin), masks(model)
    assert before.keys() == after.keys()
    assert all((mask <= before[name]).all() for name, mask in after.items())
    assert all(book.centres.size <= 16 for book in code_books(model).values())
    assert len(code_books(model)) == len(code_books(thin))


def _save(folder: Path, model: Model, samples: dict[str, Array]) -> None:
    model.save(folder / "model.onnx")
    np.savez(folder / "samples.npz", **samples)  # type: ignore[arg-type]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
