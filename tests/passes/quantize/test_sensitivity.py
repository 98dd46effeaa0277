"""Layers at fault, planted in the zoo's digits-cnn: what each layer's int8 costs, and what it costs all at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgekit.core.recipe import ModelSection
from edgekit.core.resources import resource
from edgekit.core.sensitivity import Cost, LayerCost, own_worst
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, run
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.quantize.insert import insert_qdq, round_value
from edgekit.passes.quantize.numbers import layer_ranges, standing_out
from edgekit.passes.quantize.ranges import measure_ranges
from edgekit.passes.quantize.sensitivity import float_answers, layer_costs, naive_answers
from edgekit.passes.quantize.storing import naive_storing
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store
from tests import planting

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def model() -> Model:
    path = import_source(default_store(), resource("models/digits-cnn") / "digits-cnn.keras", ModelSection(), 0).path
    fused, _ = apply(Model.load(path), FUSION, 0, until_stable=True)
    return fused


@pytest.fixture(scope="module")
def images(model: Model) -> Arrays:
    (spec,) = model.inputs
    with np.load(resource("models/digits-cnn") / "train.npz") as train:
        return {spec.name: np.asarray(train["x"][:128], np.float32).reshape(-1, *spec.sample_shape)}


@dataclass
class Blamed:
    """What int8 costs a network, by agreement of its classes and by SQNR of its first output."""

    costs: list[LayerCost]
    naive: Cost

    @property
    def worst(self) -> LayerCost:
        return min(self.costs, key=own_worst)


def blamed(model: Model, images: Arrays) -> Blamed:
    storing = naive_storing(model, measure_ranges(model, images))
    reference = float_answers(model, images)
    (name,) = reference

    def judge(answers: Arrays, rounded: Collection[str]) -> Cost:
        before, after = reference[name].astype(np.float64), answers[name].astype(np.float64)
        if not rounded:
            assert answers[name].shape == reference[name].shape
        noise = max(float(((after - before) ** 2).sum()), 1e-30)
        agreement = 100 * float((before.argmax(-1) == after.argmax(-1)).mean())
        return Cost(float(10 * np.log10((before**2).sum() / noise)), agreement)

    costs = list(layer_costs(model, images, storing, judge, known={}))
    return Blamed(costs, judge(naive_answers(model, images, storing), [name]))


def test_a_sound_network_has_nobody_to_blame(model, images):
    found = blamed(model, images)
    assert found.naive.agreement == 100
    assert own_worst(found.worst) > 35
    assert [cost.layer for cost in found.costs][:2] == ["image", "stem"]
    assert {cost.layer for cost in found.costs if cost.weights} == {"stem", "residual", "depthwise", "widen", "digit"}


@pytest.mark.parametrize("layer", ["stem", "depthwise"])
def test_a_rescaled_channel_is_blamed_on_who_makes_or_reads_it(model, images, layer):
    planted, guilty = planting.rescaled(model, layer, channel=7)
    assert max_relative(run(planted, images), run(model, images)) < 1e-3
    found = blamed(planted, images)
    assert found.naive.agreement is not None
    assert found.naive.agreement < 50
    assert found.worst.layer in guilty
    # What neither makes nor reads the channel costs what it did.
    assert min(own_worst(cost) for cost in found.costs if cost.layer not in guilty) > 35


def test_the_parts_of_a_rescaled_channel_are_told_apart(model, images):
    """The maker's result has a channel that takes the scale, the reader's weights one that the scale takes away."""
    planted, _ = planting.rescaled(model, "depthwise", channel=11)
    costs = {cost.layer: cost for cost in blamed(planted, images).costs}
    maker, reader = costs["depthwise"], costs["widen"]
    assert maker.weights is not None
    assert reader.weights is not None
    assert maker.output.sqnr_db < 5
    assert maker.weights.sqnr_db > 35
    assert reader.weights.sqnr_db < 30
    assert reader.output.sqnr_db > 35
    assert reader.sqnr_db < 5  # it reads what the other makes
    storing = naive_storing(planted, ranges := measure_ranges(planted, images))
    numbers = {each.layer: each for each in layer_ranges(planted, ranges, images, storing)}
    assert numbers["depthwise"].output_outliers[0].channel == 11
    assert numbers["depthwise"].output_outliers[0].factor > 100
    assert numbers["widen"].weight_outliers[0].channel == 11
    assert numbers["widen"].weight_outliers[0].factor < 0.01


def test_an_outlier_is_blamed_on_who_makes_it(model, images):
    planted = planting.outlier(model, "residual", channel=3)
    assert max_relative(run(planted, images), run(model, images)) < 1e-2
    found = blamed(planted, images)
    assert found.naive.agreement is not None
    assert found.naive.agreement < 95
    assert found.worst.layer == "residual"
    assert found.worst.output.sqnr_db < own_worst(sorted(found.costs, key=own_worst)[1]) - 20


def test_a_softmax_over_many_classes_is_blamed_for_rounding_them_all_away(model, images):
    found = blamed(planting.wide_softmax(model), images)
    assert found.naive.agreement is not None
    assert found.naive.agreement < 5
    assert found.worst.layer == "digit/Softmax"


@pytest.mark.parametrize("layer", ["stem", "residual", "digit"])
def test_a_cost_is_that_of_the_whole_network_run_with_this_layer_in_int8(model, images, layer):
    """Only what lies behind a layer is computed again; the graph with QuantizeLinear and DequantizeLinear agrees."""
    storing = naive_storing(model, measure_ranges(model, images))
    seen: list[Arrays] = []

    def judge(answers: Arrays, _: Collection[str]) -> Cost:
        seen.append(answers)
        return Cost(0.0)

    (cost,) = layer_costs(model, images, storing, judge, known={}, only=[layer])
    output, weights, _ = seen
    others = [str(node.name) for node in model.graph if node.name != layer]
    assert max_relative(weights, run(insert_qdq(model, {}, keep=others), images)) < 1e-4
    rounded = model.clone()
    (value,) = (value for node in rounded.graph for value in node.outputs if value.name in cost.values)
    round_value(rounded.graph, value, storing(str(value.name)), None, np.int8)
    assert max_relative(output, run(rounded, images)) < 1e-4


def test_what_is_known_is_not_found_out_again(model, images):
    storing = naive_storing(model, measure_ranges(model, images))
    asked = 0

    def judge(answers: Arrays, _: Collection[str]) -> Cost:
        nonlocal asked
        asked += 1
        return Cost(float(asked))

    first = list(layer_costs(model, images, storing, judge, known={}))
    before, asked = asked, 0
    known = {(cost.layer, cost.op): cost for cost in first[:-1]}
    assert list(layer_costs(model, images, storing, judge, known=known))[:-1] == first[:-1]
    assert before > 20
    assert asked == 2  # Softmax has no weights


def test_channels_stand_out_beside_the_median_of_those_that_live():
    assert standing_out(np.array([1.0, 2.0, 1.5])) == ()
    found = standing_out(np.array([0.0, 1.0, 1.0, 1.0, 100.0, 0.01]))
    assert [(each.channel, round(each.factor, 3)) for each in found] == [(4, 100.0), (5, 0.01)]
