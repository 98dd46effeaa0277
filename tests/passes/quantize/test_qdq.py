"""Our own QDQ writer: what is rounded for whom, with which scales, and how near the result stays to float."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.run import probe, run
from edgekit.passes.quantize import Placement, Range, measure_ranges, params_of_range, place, write_qdq
from edgekit.passes.quantize.weights import scale_for_bias
from tests.passes.fuse.conftest import GraphBuilder

Array = np.ndarray[Any, Any]
INT8, FP32 = QuantPlan(Precision.INT8), QuantPlan(Precision.FP32)


def placed(model: Model, plan: QuantPlan = INT8) -> Placement:
    ranges = measure_ranges(model, probe(model, 0, 16))
    return place(model, plan, lambda name: params_of_range(ranges[name]))


def sqnr(model: Model, placement: Placement) -> float:
    """Of the worst output, in dB, on samples that calibration has not seen."""
    feeds = probe(model, 1, 16)
    wanted, found = run(model, feeds), run(write_qdq(model, placement), feeds)
    return min(
        float(10 * np.log10(np.sum(each**2) / np.sum((each - found[name]) ** 2))) for name, each in wanted.items()
    )


def held(model: Model, name: str) -> Array:
    value = model.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


def node_of(model: Model, op: str) -> ir.Node:
    return next(node for node in model.graph if node.op_type == op)


def convolution(b: GraphBuilder, x: str, made: int = 4, read: int = 3) -> str:
    return b.op("Conv", x, b.normal(made, read, 3, 3), b.normal(made), pads=[1, 1, 1, 1])


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_range_is_covered_within_a_step_and_zero_is_exact(one: float, other: float) -> None:
    low, high = sorted((one, other))
    params = params_of_range(Range(low, high))
    assert -128 <= params.zero_point <= 127
    slack = 0.51 * params.scale
    assert params.low <= min(low, 0) + slack
    assert params.high >= max(high, 0) - slack


@given(st.floats(2.0**-100, 2.0**100))
def test_nothing_lies_beyond_a_range_from_zero(high: float) -> None:
    params = params_of_range(Range(0, high))
    assert params.zero_point == -128
    assert float(np.float32(params.scale) * np.float32(255)) <= high * (1 + 2**-24)
    assert params.high <= high


def test_ranges_are_the_extremes_over_all_samples() -> None:
    b = GraphBuilder()
    model = b.model(b.op("Relu", convolution(b, "x")))
    feeds = probe(model, 0, 20)
    ranges = measure_ranges(model, feeds)
    for name, content in {**feeds, **run(model, feeds)}.items():
        assert (ranges[name].low, ranges[name].high) == pytest.approx((content.min(), content.max()), abs=1e-6)
    assert len(ranges) == 3


def test_samples_that_do_not_fit_or_are_no_numbers_are_the_callers_fault() -> None:
    b = GraphBuilder()
    model = b.model(convolution(b, "x"))
    feeds = probe(model, 0, 4)
    with pytest.raises(InvalidInputError, match="nothing for input 'x'"):
        measure_ranges(model, {})
    with pytest.raises(InvalidInputError, match="which takes"):
        measure_ranges(model, {"x": feeds["x"][:, :, 1:]})
    with pytest.raises(InvalidInputError, match="infinite or undefined"):
        measure_ranges(model, {"x": np.where(feeds["x"] > 2, np.inf, feeds["x"]).astype(np.float32)})


def test_a_network_stays_near_to_float_and_has_the_types_of_onnx_runtimes_kernels() -> None:
    b = GraphBuilder()
    first = b.op("Relu", convolution(b, "x"))
    second = convolution(b, first, 4, 4)
    model = b.model(b.op("Relu", b.op("Add", first, second)))
    conv = node_of(model, "Conv")
    placement = placed(model)
    assert sqnr(model, placement) >= 30
    written = write_qdq(model, placement)
    types = {
        name: held(written, f"{conv.name}/{name}").dtype.name
        for name in ("weights/int8", "bias/int32", "bias/scale", "weights/scale")
    }
    assert types == {
        "weights/int8": "int8", "bias/int32": "int32", "bias/scale": "float32", "weights/scale": "float32"
    }  # fmt: skip
    np.testing.assert_array_equal(
        held(written, f"{conv.name}/bias/scale"), held(written, f"{conv.name}/weights/scale") * held(written, "x/scale")
    )


def test_an_activation_belongs_to_its_layer_and_only_its_result_is_rounded() -> None:
    b = GraphBuilder()
    model = b.model(convolution(b, b.op("Relu", convolution(b, "x")), 4, 4))
    relu, (first, last) = node_of(model, "Relu"), [node for node in model.graph if node.op_type == "Conv"]
    placement = placed(model)
    assert set(placement.values) == {"x", relu.outputs[0].name, last.outputs[0].name}
    assert placement.values[relu.outputs[0].name or ""].zero_point == -128
    lifted = placed(model, QuantPlan(Precision.INT8, ((first.name or "", Precision.FP32),)))
    assert set(lifted.values) == {relu.outputs[0].name, last.outputs[0].name}


def test_a_clip_that_cuts_off_more_than_rounding_does_has_a_rounded_input() -> None:
    b = GraphBuilder()
    clip = b.op("Clip", convolution(b, "x"), np.float32(0.25), np.float32(6))
    model = b.model(convolution(b, clip, 4, 4))
    first = node_of(model, "Conv")
    assert first.outputs[0].name in placed(model).values
    assert sqnr(model, placed(model)) >= 25


def test_what_only_moves_numbers_shares_their_scale() -> None:
    b = GraphBuilder()
    pooled = b.op("MaxPool", b.op("Relu", convolution(b, "x")), kernel_shape=[2, 2])
    model = b.model(convolution(b, pooled, 4, 4))
    relu, pool = node_of(model, "Relu"), node_of(model, "MaxPool")
    values = placed(model).values
    assert values[pool.outputs[0].name or ""] == values[relu.outputs[0].name or ""]


def test_outputs_of_different_kinds_do_not_share_a_scale() -> None:
    """Boxes in pixels and scores of at most one: a common scale would leave the scores nothing."""
    b = GraphBuilder()
    features = b.op("Relu", convolution(b, "x"))
    scores = convolution(b, features, 4, 4)
    boxes = b.op("Conv", features, b.constant(b.random.normal(0, 1000, (4, 4, 3, 3)).astype(np.float32)), pads=[1] * 4)
    model = b.model(b.op("Concat", boxes, scores, axis=1))
    concat = node_of(model, "Concat")
    assert concat.outputs[0].name not in placed(model).values
    feeds = probe(model, 1, 8)
    wanted, found = (run(each, feeds) for each in (model, write_qdq(model, placed(model))))
    (name,) = wanted
    of_scores = [each[name][:, 4:] for each in (wanted, found)]
    assert 10 * np.log10(np.sum(of_scores[0] ** 2) / np.sum((of_scores[0] - of_scores[1]) ** 2)) >= 30


def test_a_plan_rounds_only_for_the_layers_that_it_names() -> None:
    b = GraphBuilder()
    first = convolution(b, "x")
    second = convolution(b, first, 4, 4)
    model = b.model(b.op("Add", first, second))
    layers = [node for node in model.graph if node.op_type == "Conv"]
    placement = placed(model, QuantPlan(Precision.FP32, ((layers[1].name or "", Precision.INT8),)))
    assert placement.layers == {layers[1].name}
    assert placement.readers == {layers[0].outputs[0].name: {layers[1].name}, layers[1].outputs[0].name: None}
    assert placed(model, FP32) == Placement(frozenset(), {}, {})


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-3, 1.0])
def test_a_bias_is_kept_however_small_its_weights_are(size: float) -> None:
    b = GraphBuilder()
    weights = b.random.normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    weights[1] *= np.float32(size)
    bias = np.array([0.1, 0.7, -0.2, 100], np.float32)
    model = b.model(b.op("Conv", "x", b.constant(weights), b.constant(bias), pads=[1] * 4))
    feeds = probe(model, 1, 8)
    wanted, found = (run(each, feeds) for each in (model, write_qdq(model, placed(model))))
    (name,) = wanted
    step = (wanted[name].max() - wanted[name].min()) / 255
    assert np.abs(wanted[name] - found[name])[:, 1].max() <= 2 * step


@given(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_the_scale_of_weights_lets_their_bias_fit_in_32_bits(weight: float, bias: float) -> None:
    weights = np.full((1, 1, 1, 1), weight, np.float32)
    for scale in (np.array([weight / 127], np.float32), np.asarray(weight / 127, np.float32)):
        found = scale_for_bias(scale, weights, 0, np.array([bias]))
        assert found.shape == scale.shape
        assert (bias / found <= 2.0**31 - 1).all()
        assert (found >= scale).all()
