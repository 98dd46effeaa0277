"""LSTM, GRU and RNN: the input's projection for all steps at once, then the steps.

Up to `UNROLLED` steps are written out, longer sequences loop (TFLite's WHILE). Written out, a step is plain
FULLY_CONNECTED, LOGISTIC, TANH, MUL and ADD, which ai-edge-quantizer makes int8; it knows neither WHILE nor
UNIDIRECTIONAL_SEQUENCE_LSTM. 30 steps of an LSTM 16 → 32 on one x86 core: 75 kB and 0.048 ms written out, 37 kB and
0.102 ms as a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.cells import Cell, Weights, gru_cell, lstm_cell, rnn_cell
from edgekit.lowering.layout import Laid
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers

__all__: list[str] = []

UNROLLED = 64

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
State = tuple[Any, ...]


def _refuse(node: Node) -> str | None:
    if any(node.constant(index) is None for index in (1, 2)):
        return f"Make the weights of {node.name!r} constants."
    return None


@lowers("LSTM", refuse=_refuse)
def lstm(node: Node, *inputs: Laid | None) -> tuple[Laid, ...]:
    """Long short-term memory, with peepholes; the sequence, and the last hidden and cell state."""
    return _recurrent(node, inputs, states=2, cell=lstm_cell)


@lowers("GRU", refuse=_refuse)
def gru(node: Node, *inputs: Laid | None) -> tuple[Laid, ...]:
    """Gated recurrent units, in both forms of `linear_before_reset`; the sequence and the last state."""
    return _recurrent(node, inputs, states=1, cell=gru_cell)


@lowers("RNN", refuse=_refuse)
def rnn(node: Node, *inputs: Laid | None) -> tuple[Laid, ...]:
    """The plain recurrence; the sequence and the last state."""
    return _recurrent(node, inputs, states=1, cell=rnn_cell)


def _recurrent(
    node: Node, inputs: tuple[Laid | None, ...], *, states: int, cell: Callable[..., Cell]
) -> tuple[Laid, ...]:
    padded = list(inputs) + [None] * (8 - len(inputs))
    x, lengths, first = padded[0], padded[4], padded[5 : 5 + states]
    constants = [*padded[1:4], padded[7]]
    assert x is not None
    source = _time_first(node, x.with_all_axes())
    if source.order[2] != 2:
        source = source.to((1, 0, 2))
    time = source.order.index(0)
    limits = None if lengths is None else lengths.in_logical_order()
    sequences, lasts = [], []
    for direction, backwards in enumerate(_DIRECTIONS[node.text("direction", "forward")]):
        weights = Weights(*(None if part is None else part.in_logical_order()[direction] for part in constants))
        start = tuple(
            _zeros(source, node) if state is None else _batch_second(node, state).in_logical_order()[direction]
            for state in first
        )
        sequence, last = _scan(cell(node, direction, weights), source.value, start, time, limits, backwards=backwards)
        sequences.append(sequence)
        lasts.append(last)
    return _results(node, sequences, lasts, source)


def _time_first(node: Node, x: Laid) -> Laid:
    """X as (time, batch, features), whatever the attribute `layout` says."""
    return x.transposed((1, 0, 2)) if node.integer("layout") else x


def _batch_second(node: Node, state: Laid) -> Laid:
    """A state as (direction, batch, hidden), whatever the attribute `layout` says."""
    return state.transposed((1, 0, 2)) if node.integer("layout") else state


def _zeros(x: Laid, node: Node) -> Any:
    place = x.axis(1)
    batch = x.value.shape[place] if x.value.shape[place] is not None else tf.shape(x.value)[place]
    return tf.zeros((batch, node.integer("hidden_size")))


def _scan(cell: Cell, x: Any, start: State, time: int, lengths: Any | None, *, backwards: bool) -> tuple[Any, State]:
    """Run the steps over the axis `time` of `x`: the hidden states (on that same axis) and the last states.

    Sequences shorter than the longest keep their last state, and zeros take the place of what is missing.
    """
    batch = 1 - time

    def turned(value: Any) -> Any:
        if not backwards:
            return value
        return tf.reverse(value, [time]) if lengths is None else tf.reverse_sequence(value, lengths, time, batch)

    projected = cell.project(turned(x))
    steps = x.shape[time]
    if steps <= UNROLLED:
        outputs, state = [], start
        for number, value in enumerate(tf.unstack(projected, axis=time)):
            output, state = _step(cell, value, state, number, lengths)
            outputs.append(output)
        return turned(tf.stack(outputs, time)), state

    def body(number: Any, state: State, outputs: Any) -> tuple[Any, State, Any]:
        output, state = _step(cell, tf.gather(projected, number, axis=time), state, number, lengths)
        return number + 1, state, tf.tensor_scatter_nd_update(outputs, [[number]], output[None])

    empty = tf.zeros((steps, *start[0].shape.as_list()))
    _, state, outputs = tf.while_loop(
        lambda number, *_: number < steps, body, (tf.constant(0), start, empty), maximum_iterations=steps
    )
    return turned(tf.transpose(outputs, (1, 0, 2)) if time == 1 else outputs), state


def _step(cell: Cell, x: Any, state: State, number: Any, lengths: Any | None) -> tuple[Any, State]:
    after = cell.step(x, state)
    if lengths is None:
        return after[0], after
    going = tf.reshape(tf.less(tf.cast(number, lengths.dtype), lengths), (-1, 1))
    output = tf.where(going, after[0], tf.zeros_like(after[0]))
    return output, tuple(tf.where(going, new, old) for new, old in zip(after, state, strict=True))


def _results(node: Node, sequences: list[Any], lasts: list[State], x: Laid) -> tuple[Laid, ...]:
    """Y is logically (time, direction, batch, hidden), a state (direction, batch, hidden); or the batch first."""
    time, batch, _ = x.shape
    directions, hidden = len(sequences), node.integer("hidden_size")
    outer = (0, 2) if x.order[0] == 0 else (2, 0)
    y = Laid(tf.stack(sequences, 2), (time, directions, batch, hidden), (*outer, 1, 3))
    states = [Laid(tf.stack(parts, 1), (directions, batch, hidden), (1, 0, 2)) for parts in zip(*lasts, strict=True)]
    if directions == 1:  # that axis takes no place in memory
        y = replace(y, value=sequences[0], order=(*outer, 3))
        states = [replace(state, value=part, order=(1, 2)) for state, part in zip(states, lasts[0], strict=True)]
    if node.integer("layout"):
        return y.transposed((2, 0, 1, 3)), *(state.transposed((1, 0, 2)) for state in states)
    return y, *states
