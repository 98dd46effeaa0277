"""Channels in whole vectors change neither an answer nor a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgekit.ir.model import Model
from edgekit.lowering.module import LoweredModule
from edgekit.passes.recover.training import batch_statistics, trained
from edgekit.passes.recover.widening import widened
from tests.passes.prune.networks import BLOCKS, build
from tests.passes.recover.conftest import Digits

# Another one's figures are computed, which no training knows.
_BLOCKS = st.lists(st.sampled_from(sorted(BLOCKS.keys() - {"batch_norm"})), max_size=7)


def test_with_batch_norm(digits: Digits) -> None:
    _assert_same(digits.pruned, 1e-3)


@given(_BLOCKS, st.integers(0, 2**16))
@example(["dense", "rows"], 0)  # rows of an open batch that become more rows
@settings(max_examples=20)
def test_of_random_networks(blocks: list[str], seed: int) -> None:
    _assert_same(build(blocks, seed), 1e-3)


def _assert_same(model: Model, tolerance: float) -> None:
    import tensorflow as tf

    module = LoweredModule(model)
    variables = list(trained(model, module).values())
    assert any(variable.shape.rank == 4 and variable.shape[0] % 16 for variable in variables)
    training = {"BatchNormalization": batch_statistics(1.0)}
    (spec,) = module.inputs
    images = tf.random.stateless_normal(spec.with_batch(8), (0, 1))

    def answers(lowerings: dict[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            made = module.activations(images, training=lowerings)[model.outputs[0].name].in_logical_order()
            loss = tf.reduce_sum(made**2)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [made, *map(tf.convert_to_tensor, gradients)]

    for own, other in zip(answers(training), answers(widened(training)), strict=True):
        np.testing.assert_allclose(other, own, atol=tolerance * float(tf.reduce_max(tf.abs(own)) + 1e-6))
