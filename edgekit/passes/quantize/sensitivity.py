"""What it costs to round one layer alone: the network's answers where this layer is int8 and everything else is float.

Layer by layer, in the order in which they run: what lies in front of a layer is computed once, and only what lies
behind it is computed again. The weights and the results of a layer are also rounded each for themselves, so that the
fault of one is never blamed on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.sensitivity import Cost, LayerCost
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams
from edgekit.ir.run import Arrays, batches, open_session
from edgekit.passes.quantize.insert import insert_qdq
from edgekit.passes.quantize.placement import Storing
from edgekit.passes.quantize.segments import Segment, segments

__all__ = ["Judge", "fake_quantized", "float_answers", "layer_costs", "naive_answers"]

# Samples that go through the network at once.
_AT_ONCE = 16


# From the answers of a changed network, and the names of the values that were rounded, to what the change costs.
Judge = Callable[[Arrays, Collection[str]], Cost]


def float_answers(model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
    """What the network answers where nothing is rounded, by output name."""
    session = _session(model)
    return _joined([_run(session, chunk) for chunk in _chunks(model, samples)])


def naive_answers(model: Model, samples: Mapping[str, np.ndarray[Any, Any]], storing: Storing) -> Arrays:
    """What the network answers where everything is int8, its inputs and outputs too; arguments as in `layer_costs`."""
    parts = segments(model, storing)
    last_read, outputs = _last_read(parts), _outputs(model)
    inputs = [spec.name for spec in model.inputs if spec.dtype == "float32"]
    chunks = [{**chunk, **_rounded(chunk, inputs, storing)} for chunk in _chunks(model, samples)]
    for at, part in enumerate(parts):
        step = _Step(model, part)
        session, names = _session(insert_qdq(step.model, {})), step.results
        for number, chunk in enumerate(chunks):
            made = _run(session, chunk)
            chunks[number] = _needed({**chunk, **made, **_rounded(made, names, storing)}, last_read, at, outputs)
    return _joined([{name: chunk[name] for name in outputs} for chunk in chunks])


def layer_costs(
    model: Model,
    samples: Mapping[str, np.ndarray[Any, Any]],
    storing: Storing,
    judge: Judge,
    *,
    known: Mapping[tuple[str, str], LayerCost],
    only: Collection[str] | None = None,
) -> Iterator[LayerCost]:
    """The cost of each layer that has something to round, in the order in which they run; the inputs come first.

    Weights are rounded to int8 with a scale for each output channel, symmetric; values to int8 with one scale.

    Args:
        model: a float network; it is not changed.
        samples: one array an input name, samples first. What is still to be read behind a layer is in memory at once,
            for all samples.
        storing: how a value is stored, by its name.
        judge: says what changed answers cost.
        known: costs that were found out before, by layer and operator; nothing is computed for these.
        only: the layers that are asked for; all if None.
    """
    parts = segments(model, storing)
    last_read, outputs = _last_read(parts), _outputs(model)
    chunks = _chunks(model, samples)
    for name in [spec.name for spec in model.inputs if spec.dtype == "float32" and _is_asked(spec.name, only)]:
        yield known.get((name, "Input")) or _input_cost(
            name, chunks, _Rest(model, chunks[0], last_read, -1), storing, judge
        )
    for at, part in enumerate(parts):
        step = _Step(model, part)
        session = _session(step.model)
        before = [{name: chunk[name] for name in step.reads} for chunk in chunks]
        for number, chunk in enumerate(chunks):
            chunks[number] = _needed({**chunk, **_run(session, chunk)}, last_read, at, outputs)
        if part.layer is None or not _is_asked(str(part.layer.name), only):
            continue
        found = known.get((str(part.layer.name), part.layer.op_type))
        yield found or _cost(step, before, chunks, _Rest(model, chunks[0], last_read, at), storing, judge)


def fake_quantized(values: np.ndarray[Any, Any], params: QuantParams) -> np.ndarray[Any, Any]:
    """`values` as they come back from int8, float32."""
    step = np.float32(params.scale)
    steps = np.clip(np.rint(values / step) + params.zero_point, -128, 127)
    return np.asarray((steps - params.zero_point) * step, np.float32)


def _rounded(arrays: Arrays, names: Iterable[str], storing: Storing) -> Arrays:
    return {name: fake_quantized(arrays[name], storing(name)) for name in names}


def _input_cost(name: str, chunks: list[Arrays], rest: _Rest, storing: Storing, judge: Judge) -> LayerCost:
    answers = [rest.run({**chunk, **_rounded(chunk, [name], storing)}) for chunk in chunks]
    cost = judge(_joined(answers), [name])
    return LayerCost(name, "Input", (name,), cost.sqnr_db, cost.agreement, cost.drop, None, cost)


def _cost(  # noqa: PLR0917 - a layer, and how it is judged
    step: _Step, before: list[Arrays], chunks: list[Arrays], rest: _Rest, storing: Storing, judge: Judge
) -> LayerCost:
    """The cost of one layer, given what it reads and what is in memory behind it."""
    part, names = step.part, step.results
    assert part.layer is not None

    def judged(made: Iterable[Arrays], *, rounded: bool) -> Cost:
        kept = ({name: arrays[name] for name in names} for arrays in made)
        changed = (_rounded(arrays, names, storing) if rounded else arrays for arrays in kept)
        answers = [rest.run({**chunk, **change}) for chunk, change in zip(chunks, changed, strict=True)]
        return judge(_joined(answers), names if rounded else ())

    def computed(model: Model) -> Iterator[Arrays]:
        session = _session(model)
        return (_run(session, read) for read in before)

    output = judged(chunks, rounded=True)
    weights = judged(computed(insert_qdq(step.model, {})), rounded=False) if part.weights else None
    reads = {name: storing(name) for name, array in before[0].items() if array.dtype == np.float32}
    whole = judged(computed(insert_qdq(step.model, reads)), rounded=True)
    return LayerCost(
        layer=str(part.layer.name),
        op=part.layer.op_type,
        values=tuple(names),
        sqnr_db=whole.sqnr_db,
        agreement=whole.agreement,
        drop=whole.drop,
        weights=weights,
        output=output,
    )


class _Step:
    """A segment as a network of its own."""

    def __init__(self, model: Model, part: Segment) -> None:
        made = {value for node in part.nodes for value in node.outputs}
        self.part = part
        self.results = [str(value.name) for value in part.values] if part.layer is not None else []
        self.reads = [str(value.name) for value in _read(part)]
        gives = [str(v.name) for v in made if v.is_graph_output() or any(u.node not in part.nodes for u in v.uses())]
        self.model = _cut(model, self.reads, gives)


class _Rest:
    """What is to be computed behind a segment, as a network of its own."""

    def __init__(self, model: Model, live: Arrays, last_read: Mapping[str, int], at: int) -> None:
        self._outputs = _outputs(model)
        self._reads = [name for name in live if last_read.get(name, -1) > at]
        computed = [name for name in self._outputs if name not in live]
        self._session = _session(_cut(model, self._reads, computed), fast=True) if computed else None

    def run(self, live: Arrays) -> Arrays:
        """The network's outputs, given what is in memory in front of it."""
        if self._session is None:
            return {name: live[name] for name in self._outputs}
        found = _run(self._session, live)
        return {name: found[name] if name in found else live[name] for name in self._outputs}


def _is_asked(layer: str, only: Collection[str] | None) -> bool:
    return only is None or layer in only


def _read(part: Segment) -> list[ir.Value]:
    """What a segment reads that somebody else computes."""
    made = {value for node in part.nodes for value in node.outputs}
    values = (value for node in part.nodes for value in node.inputs if value is not None)
    return list(dict.fromkeys(value for value in values if value not in made and not value.is_initializer()))


def _last_read(parts: Sequence[Segment]) -> dict[str, int]:
    """The number of the last segment that reads a value, by its name."""
    return {str(value.name): at for at, part in enumerate(parts) for value in _read(part)}


def _outputs(model: Model) -> list[str]:
    return [str(value.name) for value in model.graph.outputs]


def _cut(model: Model, reads: Sequence[str], gives: Sequence[str]) -> Model:
    """The part of `model` that computes `gives` from `reads`."""
    graph = ir.convenience.extract(model.graph, reads, gives)
    return Model(ir.Model(graph, ir_version=model.proto.ir_version))


def _session(model: Model, *, fast: bool = False) -> Any:
    return open_session(ir.to_proto(model.proto).SerializeToString(), fast=fast)


def _run(session: Any, feeds: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
    """All outputs by name; what a session doesn't read is left out."""
    names = [output.name for output in session.get_outputs()]
    read = {spec.name: feeds[spec.name] for spec in session.get_inputs()}
    return dict(zip(names, session.run(names, read), strict=True))


def _chunks(model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> list[Arrays]:
    """The samples as they go in, some at once: what lies inside may have other sizes in front."""
    shapes = {spec.name: spec.shape for spec in model.inputs}
    return [dict(chunk) for chunk in batches(shapes, samples, _AT_ONCE)]


def _joined(parts: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _needed(live: Arrays, last_read: Mapping[str, int], at: int, outputs: Collection[str]) -> Arrays:
    """What somebody behind a segment reads, or the network answers."""
    return {name: array for name, array in live.items() if last_read.get(name, -1) > at or name in outputs}
