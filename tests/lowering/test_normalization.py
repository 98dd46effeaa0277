"""Normalizations that take their statistics from the input, and smooth activations, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from edgekit.core.types import Layout
from edgekit.ir import Model

Array = np.ndarray[Any, Any]
Build = Callable[..., Model]
Holds = Callable[..., list[str]]

IMAGE: dict[str, Any] = {"x": ("batch", 4, 5, 6)}
NCHW = {"x": Layout.NCHW, "y": Layout.NCHW}


def floats(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("axis", [-1, 2, 1])
def test_layer_normalization(axis: int, bias: bool, model_of: Build, holds: Holds) -> None:
    shape = IMAGE["x"][axis:]
    weights = {"s": floats(*shape)} | ({"b": floats(*shape)} if bias else {})
    node = make_node("LayerNormalization", ["x", *weights], ["y"], axis=axis, epsilon=1e-3)
    holds(model_of([node], IMAGE, weights))


def test_layer_normalization_over_channels_is_not_transposed(model_of: Build, holds: Holds) -> None:
    """As in ConvNeXt: to (N, H, W, C), normalize, and back."""
    nodes = [
        make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        make_node("LayerNormalization", ["t", "s", "b"], ["n"], axis=-1),
        make_node("Transpose", ["n"], ["y"], perm=[0, 3, 1, 2]),
    ]
    assert "TRANSPOSE" not in holds(model_of(nodes, IMAGE, {"s": floats(4), "b": floats(4)}, layouts=NCHW))


def test_rms_normalization(model_of: Build, holds: Holds) -> None:
    node = make_node("RMSNormalization", ["x", "s"], ["y"], axis=-1)
    holds(model_of([node], {"x": ("batch", 3, 6)}, {"s": floats(6)}))


def test_instance_normalization(model_of: Build, holds: Holds) -> None:
    node = make_node("InstanceNormalization", ["x", "s", "b"], ["y"])
    assert "TRANSPOSE" not in holds(model_of([node], IMAGE, {"s": floats(4), "b": floats(4)}, layouts=NCHW))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_normalization(groups: int, model_of: Build, holds: Holds) -> None:
    node = make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=groups)
    assert "TRANSPOSE" not in holds(model_of([node], IMAGE, {"s": floats(4), "b": floats(4)}, layouts=NCHW))


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "1-norm": ("LpNormalization", {"p": 1, "axis": 1}),
    "2-norm": ("LpNormalization", {"p": 2, "axis": 1}),
    "mean and variance": ("MeanVarianceNormalization", {"axes": [2, 3]}),
    "local response": ("LRN", {"size": 3}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_normalizations(case: str, model_of: Build, holds: Holds) -> None:
    op, attributes = OTHERS[case]
    assert "TRANSPOSE" not in holds(model_of([make_node(op, ["x"], ["y"], **attributes)], IMAGE, layouts=NCHW))


CURVES: list[tuple[str, dict[str, Any], list[str] | None]] = [
    ("Gelu", {}, ["GELU"]),
    ("Gelu", {"approximate": "tanh"}, ["GELU"]),
    ("Swish", {}, ["LOGISTIC", "MUL"]),
    ("Swish", {"alpha": 1.7}, None),
    ("Mish", {}, None),
    ("Selu", {}, None),
    ("Celu", {"alpha": 0.5}, None),
    ("ThresholdedRelu", {"alpha": 0.7}, None),
    ("Shrink", {"lambd": 1.0, "bias": 0.3}, None),
]


@pytest.mark.parametrize(("op", "attributes", "wanted"), CURVES)
def test_curves(op: str, attributes: dict[str, Any], wanted: list[str] | None, model_of: Build, holds: Holds) -> None:
    ops = holds(model_of([make_node(op, ["x"], ["y"], **attributes)], IMAGE, layouts=NCHW), low=-6, high=6)
    assert "TRANSPOSE" not in ops
    assert wanted is None or ops == wanted
