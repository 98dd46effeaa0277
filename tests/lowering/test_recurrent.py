"""LSTM, GRU and RNN against ONNX Runtime, written out and as a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from edgekit.ir import Model
from edgekit.lowering.ops import recurrent

Array = np.ndarray[Any, Any]
Build = Callable[..., Model]
Holds = Callable[..., list[str]]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OUTPUTS = {"LSTM": ("y", "h", "c"), "GRU": ("y", "h"), "RNN": ("y", "h")}
STEPS, FEATURES, HIDDEN = 5, 3, 4


def floats(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32) * np.float32(0.5)


def layer(
    build: Build, op: str, *, inputs: dict[str, Any] | None = None, batch: Any = "batch", **attributes: Any
) -> Model:
    """A recurrent layer over (time, batch, features) with all its outputs; `inputs` are the optional ones by place."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[op] * HIDDEN
    weights = {
        "w": floats(directions, rows, FEATURES),
        "r": floats(directions, rows, HIDDEN),
        "b": floats(directions, 2 * rows),
        **(inputs or {}),
    }
    names = ["x", "w", "r", "b", *(name if name in weights else "" for name in ("lengths", "h0", "c0", "p"))]
    node = make_node(op, names if op == "LSTM" else names[:6], OUTPUTS[op], hidden_size=HIDDEN, **attributes)
    shape = (batch, STEPS, FEATURES) if attributes.get("layout") else (STEPS, batch, FEATURES)
    return build([node], {"x": shape}, weights, outputs=OUTPUTS[op])


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_directions(op: str, direction: str, model_of: Build, holds: Holds) -> None:
    holds(layer(model_of, op, direction=direction, batch=2))


@pytest.mark.parametrize("op", GATES)
def test_long_sequences_loop(op: str, model_of: Build, holds: Holds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "UNROLLED", STEPS - 1)
    assert "WHILE" in holds(layer(model_of, op, direction="bidirectional", batch=2))


@pytest.mark.parametrize("op", GATES)
def test_short_sequences_are_written_out(op: str, model_of: Build, holds: Holds) -> None:
    ops = holds(layer(model_of, op, batch=1))
    assert "WHILE" not in ops
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize("op", GATES)
def test_first_state_and_lengths(op: str, model_of: Build, holds: Holds) -> None:
    inputs = {"lengths": np.array([3, STEPS], np.int32), "h0": floats(2, 2, HIDDEN)}
    if op == "LSTM":
        inputs["c0"] = floats(2, 2, HIDDEN)
    holds(layer(model_of, op, direction="bidirectional", batch=2, inputs=inputs))


def test_peepholes_clip_and_coupled_gates(model_of: Build, holds: Holds) -> None:
    inputs = {"p": floats(1, 3 * HIDDEN)}
    holds(layer(model_of, "LSTM", batch=2, inputs=inputs))
    holds(layer(model_of, "LSTM", batch=2, inputs=inputs, clip=0.3, input_forget=1))


def test_gru_that_resets_after_the_product(model_of: Build, holds: Holds) -> None:
    holds(layer(model_of, "GRU", batch=2, linear_before_reset=1))


@pytest.mark.parametrize(
    "activations",
    [["HardSigmoid", "Softsign"], ["Sigmoid", "Relu"], ["ScaledTanh", "LeakyRelu"], ["Affine", "ThresholdedRelu"]],
    ids="-".join,
)
def test_other_activations(activations: list[str], model_of: Build, holds: Holds) -> None:
    alphas: dict[str, Any] = (
        {"activation_alpha": [0.3], "activation_beta": [0.4]} if activations[0] == "HardSigmoid" else {}
    )
    if "ScaledTanh" in activations:
        alphas = {"activation_alpha": [0.7, 0.1], "activation_beta": [0.9]}
    if "Affine" in activations:
        alphas = {"activation_alpha": [0.7, 0.1], "activation_beta": [0.2]}
    holds(layer(model_of, "GRU", batch=2, activations=activations, **alphas))


@pytest.mark.parametrize("op", GATES)
def test_batch_first_layers_are_not_transposed(op: str, model_of: Build, holds: Holds) -> None:
    """As PyTorch exports `batch_first=True`: a Transpose in front, one and a Reshape behind."""
    rows = GATES[op] * HIDDEN
    nodes = [
        make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        make_node(op, ["t", "w", "r", "b"], ["s"], hidden_size=HIDDEN, direction="bidirectional"),
        make_node("Transpose", ["s"], ["u"], perm=[2, 0, 1, 3]),
        make_node("Reshape", ["u", "shape"], ["y"]),
    ]
    weights = {
        "w": floats(2, rows, FEATURES),
        "r": floats(2, rows, HIDDEN),
        "b": floats(2, 2 * rows),
        "shape": np.array([0, STEPS, 2 * HIDDEN]),
    }
    assert "TRANSPOSE" not in holds(model_of(nodes, {"x": ("batch", STEPS, FEATURES)}, weights))
