"""Keras' GRU through tf2onnx as one GRU operator.

tf2onnx knows the loop in which Keras computes an LSTM, but not that of a GRU. So the layer is traced with TensorFlow's
CudnnRNN in place of the loop: it has the right inputs and shapes, is never run here, and its converter below is ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edgekit.formats.conversion import Converters

__all__ = ["GRU_CONVERTERS", "gru_as_one_op"]

# ONNX's names of the activations that a GRU may have.
_ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softsign": "Softsign", "softplus": "Softplus"}
_CARRIER = "CudnnRNN"


@contextlib.contextmanager
def gru_as_one_op(library: Any) -> Iterator[None]:
    """While this is open, a GRU layer of Keras 3 computes its sequence by one op where that op can say what it does."""
    layer = library.layers.GRU
    general: Callable[..., Any] | None = getattr(layer, "inner_loop", None)
    if general is None:  # tf_keras, whose loop tf2onnx knows
        yield
        return

    def inner_loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras' own signature
        plain = mask is None and not self.unroll and _activations(self.cell) and None not in sequences.shape[1:]
        return (
            _one_op(self, sequences, initial_state)
            if plain
            else general(self, sequences, initial_state, mask, training)
        )

    own = layer.__dict__.get("inner_loop")
    layer.inner_loop = inner_loop
    try:
        yield
    finally:
        layer.inner_loop = own


def _activations(cell: Any) -> tuple[str, str] | None:
    """ONNX's names of the activations of the gates and of the candidate; None where ONNX has none."""
    names = [getattr(f, "__name__", "") for f in (cell.recurrent_activation, cell.activation)]
    gate, candidate = (_ACTIVATIONS.get(name) for name in names)
    return (gate, candidate) if gate and candidate else None


def _one_op(layer: Any, sequences: Any, initial_state: Any) -> tuple[Any, Any, list[Any]]:
    """The layer over (batch, steps, features): its last answer, all answers (batch, steps, units), and the state."""
    import tensorflow as tf

    cell = layer.cell
    state = initial_state[0] if isinstance(initial_state, list | tuple) else initial_state
    steps = tf.transpose(sequences, (1, 0, 2))
    if layer.go_backwards:
        steps = tf.reverse(steps, (0,))
    bias = tf.reshape(cell.bias, (-1,)) if cell.use_bias else tf.zeros(3 * cell.units)
    if not (cell.use_bias and cell.reset_after):  # one bias, which ONNX counts as the input's
        bias = tf.concat((bias[: 3 * cell.units], tf.zeros(3 * cell.units)), 0)
    weights = (tf.reshape(tf.transpose(kernel), (-1,)) for kernel in (cell.kernel, cell.recurrent_kernel))
    outputs, last, *_ = tf.raw_ops.CudnnRNN(
        input=steps,
        input_h=state[None],
        input_c=0.0,
        params=tf.concat((*weights, bias), 0),
        rnn_mode="gru",
        is_training=False,
        # What the op has no attribute for travels in its seeds, which mean nothing at inference.
        seed=int(cell.reset_after),
        seed2=_code(_activations(cell)),
    )
    return last[0], tf.transpose(outputs, (1, 0, 2)), [last[0]]


def _code(activations: tuple[str, str] | None) -> int:
    assert activations is not None
    names = list(_ACTIVATIONS.values())
    return names.index(activations[0]) * len(names) + names.index(activations[1])


def _convert(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """tf2onnx's converter of the carrier. ONNX and Keras order the gates alike: update, reset, candidate."""
    steps, state, _, params = node.input
    features, hidden = graph.get_shape(steps)[2], graph.get_shape(state)[2]
    sizes = (3 * hidden * features, 3 * hidden * hidden, 6 * hidden)
    shapes = ((1, 3 * hidden, features), (1, 3 * hidden, hidden), (1, 6 * hidden))
    split = graph.make_node("Split", [params, _constant(graph, sizes)], output_count=3)
    weights = [
        graph.make_node("Reshape", [part, _constant(graph, shape)]).output[0]
        for part, shape in zip(split.output, shapes, strict=True)
    ]
    names = list(_ACTIVATIONS.values())
    code = node.get_attr_int("seed2")
    gru = graph.make_node(
        "GRU",
        [steps, *weights, "", state],
        attr={
            "hidden_size": hidden,
            "linear_before_reset": node.get_attr_int("seed"),
            "activations": [names[code // len(names)], names[code % len(names)]],
        },
        output_count=2,
        name=f"{node.name}/gru",
    )
    # The axis of directions goes.
    outputs = graph.make_node("Squeeze", [gru.output[0], _constant(graph, (1,))])
    graph.replace_all_inputs(node.output[0], outputs.output[0])
    graph.replace_all_inputs(node.output[1], gru.output[1])
    graph.remove_node(node.name)


def _constant(graph: Any, values: tuple[int, ...]) -> str:
    from tf2onnx import utils

    return str(graph.make_const(utils.make_name("gru"), np.array(values, np.int64)).output[0])


GRU_CONVERTERS: Converters = {_CARRIER: (_convert, [])}
