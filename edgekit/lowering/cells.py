"""One step of a recurrent layer, as ONNX defines LSTM, GRU and RNN; gates lie side by side in ONNX's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from edgekit.lowering import curves
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.node import Node

__all__ = ["Cell", "Weights", "gru_cell", "lstm_cell", "rnn_cell"]

State = tuple[Any, ...]


class Weights(NamedTuple):
    """The constants of one direction, in ONNX's shapes.

    Attributes:
        input: (gates · hidden, features).
        recurrent: (gates · hidden, hidden).
        bias: (2 · gates · hidden), the input's and the recurrent one.
        peepholes: (3 · hidden).
    """

    input: Any
    recurrent: Any
    bias: Any | None
    peepholes: Any | None


@dataclass(frozen=True)
class Cell:
    """A recurrent cell of one direction.

    Attributes:
        project: the input (…, features) to what all gates take from it (…, gates · hidden), for all steps at once.
        step: that of one step (batch, gates · hidden) and the state to the next state; its first part is the output.
    """

    project: Callable[[Any], Any]
    step: Callable[[Any, State], State]


def lstm_cell(node: Node, direction: int, weights: Weights) -> Cell:
    """Gates i, o, f, c; peepholes i, o, f; state (hidden, cell)."""
    gate, candidate, squash = _activations(node, direction, ("Sigmoid", "Tanh", "Tanh"))
    limit, coupled = _limit(node), bool(node.integer("input_forget"))
    seen = [0.0] * 3 if weights.peepholes is None else tf.split(weights.peepholes, 3)

    def step(x: Any, state: State) -> State:
        hidden, cell = state
        i, o, f, c = _gates(x + tf.matmul(hidden, weights.recurrent, transpose_b=True), 4, cell)
        i = gate(limit(_seeing(i, seen[0], cell)))
        f = 1.0 - i if coupled else gate(limit(_seeing(f, seen[2], cell)))
        cell = f * cell + i * candidate(limit(c))
        return gate(limit(_seeing(o, seen[1], cell))) * squash(cell), cell

    return Cell(_projection(weights.input, _sum_of_halves(weights.bias)), step)


def gru_cell(node: Node, direction: int, weights: Weights) -> Cell:
    """Gates z, r, h; state (hidden,). `linear_before_reset` resets the recurrent product instead of the state."""
    gate, candidate = _activations(node, direction, ("Sigmoid", "Tanh"))
    limit, after = _limit(node), bool(node.integer("linear_before_reset"))
    size, bias, recurrent = node.integer("hidden_size"), weights.bias, weights.recurrent
    if bias is None:
        whole, inner = None, 0.0
    elif after:  # the bias of the recurrent product of h is reset along with it
        whole = tf.concat([bias[: 2 * size] + bias[3 * size : 5 * size], bias[2 * size : 3 * size]], 0)
        inner = bias[5 * size :]
    else:
        whole, inner = _sum_of_halves(bias), 0.0

    def step(x: Any, state: State) -> State:
        (hidden,) = state
        xz, xr, xh = tf.split(x, 3, -1)
        if after:
            z, r, h = tf.split(tf.matmul(hidden, recurrent, transpose_b=True), 3, -1)
            z, r = gate(limit(xz + z)), gate(limit(xr + r))
            h = candidate(limit(xh + r * (h + inner)))
        else:
            z, r = tf.split(tf.matmul(hidden, recurrent[: 2 * size], transpose_b=True), 2, -1)
            z, r = gate(limit(xz + z)), gate(limit(xr + r))
            h = candidate(limit(xh + tf.matmul(r * hidden, recurrent[2 * size :], transpose_b=True)))
        return ((1.0 - z) * h + z * hidden,)

    return Cell(_projection(weights.input, whole), step)


def rnn_cell(node: Node, direction: int, weights: Weights) -> Cell:
    """One gate; state (hidden,)."""
    (activation,) = _activations(node, direction, ("Tanh",))
    limit = _limit(node)

    def step(x: Any, state: State) -> State:
        return (activation(limit(x + tf.matmul(state[0], weights.recurrent, transpose_b=True))),)

    return Cell(_projection(weights.input, _sum_of_halves(weights.bias)), step)


def _projection(weights: Any, bias: Any) -> Callable[[Any], Any]:
    def project(x: Any) -> Any:
        product = tf.matmul(x, weights, transpose_b=True) if len(x.shape) == 2 else tf.matmul(x, tf.transpose(weights))
        return product if bias is None else product + bias

    return project


def _sum_of_halves(bias: Any) -> Any:
    """ONNX keeps the biases of the input's and of the state's product apart."""
    return None if bias is None else tf.add(*tf.split(bias, 2))


def _gates(product: Any, count: int, state: Any) -> list[Any]:
    """The product of each gate. Slices at a start from zeros, which make gates superfluous: those then go as a whole.

    A SPLIT would keep an output that nothing reads, and int8 kernels refuse one.
    """
    if tf.get_static_value(state) is None:
        parts: list[Any] = tf.split(product, count, -1)
        return parts
    size = product.shape[-1] // count
    return [product[..., size * index : size * (index + 1)] for index in range(count)]


def _seeing(gate: Any, peephole: Any, cell: Any) -> Any:
    return gate if isinstance(peephole, float) else gate + peephole * cell


def _limit(node: Node) -> Callable[[Any], Any]:
    """What `clip` does to the input of an activation."""
    clip = node.number("clip", 0.0)
    return (lambda x: tf.clip_by_value(x, -clip, clip)) if clip else (lambda x: x)


def _activations(node: Node, direction: int, defaults: tuple[str, ...]) -> list[Callable[[Any], Any]]:
    """The activations of a direction. The lists of α and β hold a figure only for those that take one, in order."""
    names = [name.lower() for name in node.texts("activations") or defaults * (direction + 1)]
    alphas, betas = iter(node.numbers("activation_alpha")), iter(node.numbers("activation_beta"))
    made: list[Callable[[Any], Any]] = []
    for name in names:
        curve, alpha, beta = _CURVES[name]
        figures = [next(given, default) for given, default in ((alphas, alpha), (betas, beta)) if default is not None]
        made.append(partial(_apply, curve, figures))
    return made[direction * len(defaults) : (direction + 1) * len(defaults)]


def _apply(curve: Callable[..., Any], figures: list[float], x: Any) -> Any:
    return curve(x, *figures)


# Each with its default α and β, None for one that it does not take.
_CURVES: dict[str, tuple[Callable[..., Any], float | None, float | None]] = {
    "affine": (curves.affine, 1.0, 0.0),
    "elu": (curves.elu, 1.0, None),
    "hardsigmoid": (curves.hard_sigmoid, 0.2, 0.5),
    "leakyrelu": (curves.leaky_relu, 0.01, None),
    "relu": (curves.relu, None, None),
    "scaledtanh": (curves.scaled_tanh, 1.0, 1.0),
    "sigmoid": (curves.sigmoid, None, None),
    "softplus": (curves.softplus, None, None),
    "softsign": (curves.softsign, None, None),
    "tanh": (curves.tanh, None, None),
    "thresholdedrelu": (curves.thresholded_relu, 1.0, None),
}
