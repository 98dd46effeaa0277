"""ONNX Runtime as the reference: probes repeat, fixed batches are fed sample by sample, differences are counted."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.types import TensorSpec
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model
from edgekit.ir.run import max_relative, probe, probe_specs, run


def scaled(batch: str | int) -> Model:
    """A model that doubles three values."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"], name="double")],
        "scaled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.array([2.0], np.float32), "two")],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return Model(ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)))


@pytest.mark.parametrize("batch", [BATCH, 1, 2])
def test_run_feeds_every_sample_whatever_the_batch_of_the_model(batch: str | int) -> None:
    model = scaled(batch)
    feeds = probe(model, seed=0, samples=4)
    assert feeds["x"].shape == (4, 3)
    np.testing.assert_array_equal(run(model, feeds)["y"], feeds["x"] * 2)


def test_probes_repeat_with_the_seed_and_differ_without() -> None:
    model = scaled(BATCH)
    np.testing.assert_array_equal(probe(model, 1, 2)["x"], probe(model, 1, 2)["x"])
    assert (probe(model, 1, 2)["x"] != probe(model, 2, 2)["x"]).any()


def test_a_probe_of_integers_holds_valid_indices() -> None:
    indices = probe_specs([TensorSpec("token", (None, 50), "int64")], seed=0, samples=2)["token"]
    assert indices.dtype == np.int64
    assert set(np.unique(indices)) == {0, 1}


@pytest.mark.parametrize(
    ("actual", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.2], [1.0, 2.0], 0.1),
        ([1e-7], [0.0], 0.1),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([[1.0]], [1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_max_relative(actual: list[float], reference: list[float], expected: float) -> None:
    assert max_relative({"y": np.array(actual)}, {"y": np.array(reference)}) == pytest.approx(expected)


def test_an_output_that_is_missing_is_an_infinite_difference() -> None:
    assert max_relative({}, {"y": np.zeros(1)}) == np.inf
