"""Scales of channels: moved where one stands out, and the network answers what it did, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings

from edgekit.core.recipe import ModelSection
from edgekit.core.resources import resource
from edgekit.ir.model import Model
from edgekit.ir.run import probe, run
from edgekit.passes.contract import apply
from edgekit.passes.equalise.equalise import EqualiseChannels
from edgekit.passes.equalise.peaks import channel_peaks
from edgekit.passes.equalise.scale_classes import ScaleClass, scale_classes, scaled
from edgekit.passes.fuse import FUSION
from edgekit.passes.layer_weights import set_weights
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store
from tests.passes.prune.networks import networks

_Samples = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def digits() -> tuple[Model, _Samples]:
    """A network with a residual and a depthwise block, fused, and its data."""
    home = resource("models/digits-cnn")
    path = import_source(default_store(), home / "digits-cnn.keras", ModelSection(), seed=0).path
    model, _ = apply(Model.load(path), FUSION, 0, until_stable=True)
    with np.load(home / "train.npz") as data:
        samples = np.asarray(data["x"], np.float32).reshape(-1, *model.inputs[0].sample_shape)[:64]
    return model, {model.inputs[0].name: samples}


def _planted(model: Model, number: int, channel: int, scale: float) -> Model:
    """The same network with one channel of a class so many times as large."""
    result = model.clone()
    each = scale_classes(result)[number]
    scales = np.ones(each.size)
    scales[channel] = scale
    _scale(result, each, scales)
    return result


def _scale(model: Model, each: ScaleClass, scales: np.ndarray[Any, Any]) -> None:
    for axis in each.axes:
        content = model.graph.initializers[axis.constant].const_value
        assert content is not None
        set_weights(model, axis.constant, scaled(content.numpy(), axis, scales))


def _furthest(model: Model, samples: _Samples) -> float:
    """How far the largest channel reaches beyond the middle one, in the worst activation."""
    wanted = {place for each in scale_classes(model) for place in each.values}
    peaks = channel_peaks(model, samples, wanted).values()
    return max(float(found.max() / np.median(found[found > 0])) for found in peaks)


@pytest.mark.parametrize("scale", [1000.0, 1 / 1000])
@pytest.mark.parametrize("number", [0, 1])
def test_a_channel_that_was_scaled_comes_back(digits, number, scale):
    model, samples = digits
    worse = _planted(model, number, 3, scale)
    (answers,), (told,) = run(model, samples).values(), run(worse, samples).values()
    np.testing.assert_allclose(told, answers, atol=1e-5)
    repaired, (record,) = apply(worse, [EqualiseChannels(samples)], 0)
    assert record.max_relative == 0
    assert record.fired
    if scale > 1:
        assert _furthest(worse, samples) > 300
    assert _furthest(repaired, samples) < 4 * _furthest(model, samples)


def test_a_network_that_is_even_stays_as_it_is(digits):
    model, samples = digits
    _, (record,) = apply(model, [EqualiseChannels(samples)], 0)
    assert record.fired == 0


def test_what_meets_in_an_addition_has_one_scale(digits):
    residual = scale_classes(digits[0])[0]
    assert [axis.constant for axis in residual.weights if axis.made] == ["stem/W", "residual/W"]
    assert [axis.constant for axis in residual.weights if not axis.made] == ["residual/W", "depthwise/W"]


@settings(max_examples=20)
@given(networks)
def test_any_network_answers_the_same_bits(model):
    fused, _ = apply(model, FUSION, 0, until_stable=True)
    random = np.random.default_rng(0)
    worse = fused.clone()
    for each in scale_classes(worse):
        _scale(worse, each, np.exp2(random.integers(-8, 9, each.size)))
    samples = probe(worse, 0, 8)
    _same(run(worse, samples), run(fused, samples))
    repaired, _ = apply(worse, [EqualiseChannels(samples)], 0)
    _same(run(repaired, samples), run(worse, samples))


def test_a_limit_in_between_fixes_the_scale():
    assert scale_classes(_two_layers("Clip", [np.float32(0), np.float32(6)])) == []
    assert len(scale_classes(_two_layers("Relu", []))) == 1


def _two_layers(between: str, limits: list[np.float32]) -> Model:
    from onnx import TensorProto, helper, numpy_helper

    from edgekit.ir.model import IR_VERSION, OPSET

    random = np.random.default_rng(0)
    constants = [numpy_helper.from_array(random.normal(size=(8, 8)).astype(np.float32), name) for name in ("v", "w")]
    constants += [numpy_helper.from_array(np.asarray(limit), f"limit{at}") for at, limit in enumerate(limits)]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "v"], ["a"], name="first"),
            helper.make_node(between, ["a", *(f"limit{at}" for at in range(len(limits)))], ["b"], name="between"),
            helper.make_node("MatMul", ["b", "w"], ["y"], name="second"),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        constants,
        value_info=[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in ("a", "b")],
    )
    opset = [helper.make_opsetid("", OPSET)]
    return Model(ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)))


def _same(these: _Samples, those: _Samples) -> None:
    for name, array in these.items():
        np.testing.assert_array_equal(array, those[name])
