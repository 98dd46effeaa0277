"""Recurrent state: inputs that an output feeds at the next step. Declared pairs are checked, undeclared ones found.

A graph doesn't say which of its inputs are state. Whoever knows declares pairs (input, output). Without a declaration
a streaming model would be fed made-up states and judged on single steps, so what gives a state away is an error:

- an input is the initial state of a recurrent operator whose final state is an output,
- an input is carried to an output through a gate and a sum, as in the cell of an LSTM (f ⊙ c + i ⊙ g) or a GRU
  ((1 − z) ⊙ n + z ⊙ h), where the gate depends on another input, or
- an input and an output that depends on it are called like a state before and after a step (`h0` and `hn`,
  `state_in` and `state_out`, `past_key` and `present_key`),

and both have one shape and type. An output in the shape of an input is no such sign: an auto-encoder has it, too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import onnx_ir as ir

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import States, TensorSpec
from edgekit.ir.model import Model

__all__ = ["Declared", "check_states", "likely_states"]

_T = TypeVar("_T")
# "none": what looks like state is ordinary input.
Declared = Mapping[str, str] | Literal["none"]

# Initial state (input) → final state (output) of each recurrent operator.
_CELLS = {"LSTM": {5: 1, 6: 2}, "GRU": {5: 1}, "RNN": {5: 1}}
_MOVING = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
     "Unsqueeze"}
)  # fmt: skip
_GATES = frozenset({"HardSigmoid", "Sigmoid"})
_ELEMENTWISE = frozenset({"Add", "Mul", "Sub"})

_STATE_WORDS = frozenset({"c", "carry", "cell", "cx", "h", "hidden", "hx", "memory", "state"})
_PLACE_WORDS = frozenset({"cell", "decoder", "encoder", "gru", "layer", "lstm", "rnn"})
_BEFORE = frozenset({"0", "in", "init", "initial", "input", "last", "old", "past", "prev", "previous"})
_AFTER = frozenset({"current", "final", "last", "n", "new", "next", "out", "output", "present", "updated"})


def check_states(model: Model, declared: Declared) -> None:
    """Hold the declared pairs against the model, and the model against the declaration.

    Raises:
        InvalidInputError: a pair names what isn't there, doesn't fit, or leaves nothing to feed; or the model has
            state that is not declared, with the pairs to declare.
    """
    if declared == "none":
        return
    _check_declared(model.inputs, model.outputs, declared)
    missing = likely_states(model, declared)
    if missing:
        pairs = ", ".join(f"{source!r} → {target!r}" for source, target in missing)
        flags = " ".join(f"--state {shlex.quote(f'{a}={b}')}" for a, b in (*declared.items(), *missing))
        raise InvalidInputError(
            f"the model carries state from step to step ({pairs}), and nothing declares it",
            blame="your command or recipe",
            remedy=f"Declare it: {flags}   Where these are ordinary inputs: --state none",
        )


def likely_states(model: Model, declared: Mapping[str, str] | None = None) -> States:
    """The pairs that look like state, in the order of the inputs; those that are `declared` left out."""
    declared = declared or {}
    inputs, outputs = model.graph.inputs, model.graph.outputs
    fitting = [
        (source, target)
        for source in inputs
        if source.name not in declared
        for target in _fitting(source, [value for value in outputs if value.name not in declared.values()])
    ]
    found: dict[ir.Value, ir.Value] = {}

    def pair_up(sign: Callable[[ir.Value, ir.Value], bool]) -> None:
        for source, target in fitting:
            if source not in found and target not in found.values() and sign(source, target):
                found[source] = target

    pair_up(lambda source, target: target in _final_states(source))
    carried = [pair for pair in fitting if _is_carried(*pair)]
    # Two inputs that a gate mixes into one output are blended, as two images are: neither is the other's past.
    pair_up(lambda source, target: [pair for pair in carried if pair[1] is target] == [(source, target)])
    pair_up(lambda source, target: _named_alike(str(source.name), str(target.name)))
    # A cell has its other states in the same shape, like the h beside the c of an LSTM; unless x has that shape, too.
    shapes = [_shape(source) for source in found]
    alike = {source for source, _ in fitting if _shape(source) in shapes}
    if len(alike | found.keys()) + len(declared) < len(inputs):
        pair_up(lambda source, _: source in alike)
    ordered = [(source, found[source]) for source in inputs if source in found]
    # Where nothing would be left to feed, there is no stream.
    return tuple((str(a.name), str(b.name)) for a, b in ordered) if len(found) + len(declared) < len(inputs) else ()


def _check_declared(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], declared: Mapping[str, str]) -> None:
    taken, given = {spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs}
    for source, target in declared.items():
        for name, side, known in ((source, "input", taken), (target, "output", given)):
            if name not in known:
                raise _wrong(source, target, f"there is no {side} {name!r}, only {', '.join(map(repr, known))}")
        before, after = taken[source], given[target]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            told = (f"{_sizes(spec)} {spec.dtype}" for spec in (before, after))
            raise _wrong(source, target, "the input is {}, the output {}".format(*told))
    if declared and len(declared) == len(inputs):
        raise InvalidInputError(
            f"every input is declared as state ({', '.join(declared)}): nothing is left to feed",
            blame="your command or recipe",
            remedy="Declare only the inputs that an output feeds at the next step.",
        )


def _wrong(source: str, target: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{source}={target} is no pair of state: {why}",
        blame="your command or recipe",
        remedy="Name an input and the output, of one shape and type, that feeds it at the next step: --state IN=OUT",
    )


def _sizes(spec: TensorSpec) -> str:
    return "×".join("batch" if size is None else str(size) for size in spec.shape) or "one number"


def _final_states(source: ir.Value) -> list[ir.Value]:
    """What becomes of the final states of the recurrent operators that begin with `source`."""
    return [
        moved
        for value in _moved(source)
        for node, index in _uses(value)
        if index in _CELLS.get(node.op_type, {})
        for moved in _moved(node.outputs[_CELLS[node.op_type][index]])
    ]


def _is_carried(source: ir.Value, target: ir.Value) -> bool:
    """Whether `source` reaches `target` element by element, through a gate and then a sum with something new.

    The gate depends on another input. Without the sum it is a mask, as on the spectrum of a noise filter.
    """
    start, gated, summed = range(3)

    def steps(state: tuple[ir.Value, int]) -> Iterator[tuple[ir.Value, int]]:
        value, stage = state
        for node, index in _uses(value):
            if node.op_type in _MOVING:
                yield from ((output, stage) for output in node.outputs)
            elif node.op_type in _ELEMENTWISE:
                other = node.inputs[1 - index]
                if node.op_type == "Mul" and _is_gate(other, source):
                    yield node.outputs[0], max(stage, gated)
                elif node.op_type != "Mul" and stage == gated and other is not source:
                    yield node.outputs[0], summed
                else:
                    yield node.outputs[0], stage

    return (target, summed) in _closure((source, start), steps)


def _is_gate(value: ir.Value | None, source: ir.Value) -> bool:
    """Whether `value` is a sigmoid, or one minus it, that depends on an input other than `source`."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in (_MOVING | _ELEMENTWISE):
        makers = [item.producer() for item in node.inputs if item is not None and item.producer() is not None]
        if node.op_type in _ELEMENTWISE and len(makers) != 1:
            return False
        node = makers[0] if makers else None
    if node is None or node.op_type not in _GATES:
        return False

    def backwards(item: ir.Value) -> Iterator[ir.Value]:
        maker = item.producer()
        return (each for each in (maker.inputs if maker is not None else ()) if each is not None)

    return any(each.is_graph_input() and each is not source for each in _closure(node.outputs[0], backwards))


def _named_alike(source: str, target: str) -> bool:
    """Whether the names are those of a state before and after a step."""
    before, after = _words(source), _words(target)
    if "past" in before and "present" in after:
        return after - {"present"} <= before
    told_before, stem = before & _BEFORE, after - _AFTER
    # The 0 of "h0" beside "hn" is the first step, beside "h0_out" it is the first layer.
    if stem not in (before - told_before, before - (told_before - {"0"})) or not (told_before or after & _AFTER):
        return False
    numbers = {word for word in stem if word.isdigit()}
    return "state" in stem or (bool(stem & _STATE_WORDS) and stem - numbers <= _STATE_WORDS | _PLACE_WORDS)


def _words(name: str) -> frozenset[str]:
    """The words of a name: parted by signs, by capitals, and by digits; "hn" and "cn" are what PyTorch calls them."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.partition(":")[0]).lower()
    name = re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", "_", re.sub(r"\b([hc])n\b", r"\1_n", name))
    return frozenset(word for word in re.split(r"[^a-z0-9]+", name) if word)


def _moved(value: ir.Value) -> list[ir.Value]:
    """`value`, and all that only its place or shape was changed in."""

    def steps(item: ir.Value) -> Iterator[ir.Value]:
        return (output for node, _ in _uses(item) if node.op_type in _MOVING for output in node.outputs)

    return list(_closure(value, steps))


def _fitting(source: ir.Value, targets: Sequence[ir.Value]) -> Iterator[ir.Value]:
    """The outputs in the shape and type of an input that depend on it."""
    reached = _closure(source, lambda item: (output for node, _ in _uses(item) for output in node.outputs))
    alike = (target for target in targets if _shape(source) == _shape(target) and source.dtype == target.dtype)
    return (target for target in alike if target in reached)


def _closure(start: _T, steps: Callable[[_T], Iterator[_T]]) -> dict[_T, None]:
    """Everything that `steps` lead to from `start`, itself included."""
    seen, todo = {start: None}, [start]
    while todo:
        for each in steps(todo.pop()):
            if each not in seen:
                seen[each] = None
                todo.append(each)
    return seen


def _uses(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    return ((use.node, use.idx) for use in value.uses())


def _shape(value: ir.Value) -> tuple[int | str | None, ...] | None:
    return None if value.shape is None else tuple(s if isinstance(s, int) else str(s) for s in value.shape)
