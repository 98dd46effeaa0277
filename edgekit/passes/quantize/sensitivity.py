"""What it costs to round one layer alone: the network's answers where this layer is int8 and everything else is float.

Layer by layer, in the order in which they run: what lies in front of a layer is computed once, and only what lies
behind it is computed again. The weights and the results of a layer are also rounded each for themselves, so that the
fault of one is never blamed on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

__all__ = ["Judge", "fake_quantized", "float_answers", "layer_costs"]

# Samples that go through the network at once.
_AT_ONCE = 16


# From the answers of a changed network, and the names of the values that were rounded, to what the change costs.
Judge = Callable[[Arrays, Collection[str]], Cost]


def float_answers(model: Model, samples: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
    """What the network answers where nothing is rounded, by output name."""
    return _run(_session(model), samples)


def layer_costs(
    model: Model,
    samples: Mapping[str, np.ndarray[Any, Any]],
    storing: Storing,
    judge: Judge,
    known: Mapping[str, LayerCost],
) -> Iterator[LayerCost]:
    """The cost of each layer that has something to round, in the order in which they run; the inputs come first.

    Weights are rounded to int8 with a scale for each output channel, symmetric; values to int8 with one scale.

    Args:
        model: a float network; it is not changed.
        samples: one array an input name, samples first. What is still to be read behind a layer is in memory at once,
            for all samples.
        storing: how a value is stored, by its name.
        judge: says what changed answers cost.
        known: costs that were found out before, by layer; nothing is computed for these.
    """
    parts = segments(model, storing)
    last_read = _last_read(parts)
    live: Arrays = {spec.name: samples[spec.name] for spec in model.inputs}
    for name in [spec.name for spec in model.inputs if spec.dtype == "float32"]:
        yield known.get(name) or _input_cost(name, live, _Rest(model, live, last_read, -1), storing, judge)
    for at, part in enumerate(parts):
        step = _Step(model, part)
        before = {name: live[name] for name in step.reads}
        live |= _run(_session(step.model), before)
        live = {name: array for name, array in live.items() if last_read.get(name, -1) > at or name in _outputs(model)}
        if part.layer is None:
            continue
        found = known.get(str(part.layer.name))
        yield found or _cost(step, before, live, _Rest(model, live, last_read, at), storing, judge)


def fake_quantized(values: np.ndarray[Any, Any], params: QuantParams) -> np.ndarray[Any, Any]:
    """`values` as they come back from int8, float32."""
    step = np.float32(params.scale)
    steps = np.clip(np.rint(values / step) + params.zero_point, -128, 127)
    return np.asarray((steps - params.zero_point) * step, np.float32)


def _input_cost(name: str, live: Arrays, rest: _Rest, storing: Storing, judge: Judge) -> LayerCost:
    cost = judge(rest.run({**live, name: fake_quantized(live[name], storing(name))}), [name])
    return LayerCost(name, "Input", (name,), cost.sqnr_db, cost.agreement, cost.drop, None, cost)


def _cost(  # noqa: PLR0917 - a layer, and how it is judged
    step: _Step, before: Arrays, live: Arrays, rest: _Rest, storing: Storing, judge: Judge
) -> LayerCost:
    """The cost of one layer, given what it reads and what is in memory behind it."""
    part = step.part
    assert part.layer is not None
    names = [str(value.name) for value in part.values]

    def judged(made: Arrays, *, rounded: bool) -> Cost:
        changed = {name: fake_quantized(made[name], storing(name)) if rounded else made[name] for name in names}
        return judge(rest.run({**live, **changed}), names if rounded else ())

    output = judged(live, rounded=True)
    weights = judged(_run(_session(insert_qdq(step.model, {})), before), rounded=False) if part.weights else None
    reads = {name: storing(name) for name, array in before.items() if array.dtype == np.float32}
    whole = judged(_run(_session(insert_qdq(step.model, reads)), before), rounded=True)
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
        found = _run(self._session, {name: live[name] for name in self._reads})
        return {name: found[name] if name in found else live[name] for name in self._outputs}


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
    shapes = {spec.name: spec.shape for spec in session.get_inputs()}
    read = {name: feeds[name] for name in shapes}
    parts = [session.run(names, part) for part in batches(shapes, read, _AT_ONCE)]
    return {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}
