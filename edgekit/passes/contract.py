"""The pass contract, and the framework that checks it: Model in, Model out, and a claim that the framework tests.

The shape is ONNX IR's own (`requires` → `call` → `ensures`, `PassResult`). Ours adds what a build needs to trust a
pass: whether it keeps the function, within which tolerance, a version for the cache, and how often it fired.
`docs/writing-a-pass.md` walks through one.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx
import onnx_ir as ir

from edgekit.core.errors import DefectError, EdgekitError
from edgekit.ir.model import IR_VERSION, OPSET, Model
from edgekit.ir.run import Arrays, max_relative, probe, run_bytes

__all__ = ["Pass", "PassRecord", "PassResult", "apply"]

# Two samples, so that a pass which writes the batch into the graph is caught.
_SAMPLES = 2
_MAX_ROUNDS = 10
_SATURATING = frozenset({"HardSigmoid", "LogSoftmax", "Sigmoid", "Softmax", "Tanh"})


@dataclass(frozen=True)
class PassResult:
    """What a pass did.

    Attributes:
        model: the Model to follow.
        fired: how often the pass found something to do; 0 means that `model` is to be ignored.
    """

    model: Model
    fired: int

    @property
    def modified(self) -> bool:
        """Whether there is anything to follow."""
        return self.fired > 0


@dataclass(frozen=True)
class PassRecord:
    """The evidence of one pass.

    Attributes:
        name: the pass.
        version: its version.
        fired: how often it found something to do.
        max_relative: the largest relative difference between the outputs before and after it; None when it makes no
            claim, or had nothing to do.
    """

    name: str
    version: str
    fired: int
    max_relative: float | None

    @property
    def modified(self) -> bool:
        """Whether the pass changed the model."""
        return self.fired > 0


class Pass(abc.ABC):
    """A change of a Model that can be named, versioned and checked.

    Attributes:
        name: how reports and errors call it.
        version: raised whenever the same Model would come out differently; part of the cache key.
        keeps_function: the claim that outputs stay equal within `tolerance`. The framework tests it.
        tolerance: the largest relative difference of an output, as `edgekit.ir.run.max_relative` defines it.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    keeps_function: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-5

    def requires(self, model: Model) -> None:  # noqa: B027 - a pass without preconditions is normal
        """Raise if `model` is not what the pass can work on."""

    @abc.abstractmethod
    def call(self, model: Model) -> PassResult:
        """Do the work. `model` is the pass's own copy: change it in place and return it."""

    def ensures(self, model: Model) -> None:  # noqa: B027 - most of what must hold is checked by the framework
        """Raise if the result is not what the pass promised, beyond what holds for every pass."""


def apply(
    model: Model, passes: Iterable[Pass], seed: int, *, until_stable: bool = False
) -> tuple[Model, tuple[PassRecord, ...]]:
    """Run `passes` in order and check after each what it claims.

    After every pass the graph must be valid ONNX of our opset with every node named and no name twice, and the inputs
    and outputs must be what they were. After a pass that keeps the function, the outputs for the same random inputs
    must be what they were, within its tolerance.

    Args:
        model: stays as it is.
        passes: the passes, in order.
        seed: seed of the random inputs.
        until_stable: go through the passes again until none finds anything to do.

    Returns:
        The resulting Model, and one record a pass (of all rounds together).

    Raises:
        DefectError: a pass crashed, or a claim does not hold; names the pass and the figure.
    """
    passes = tuple(passes)
    records = [PassRecord(each.name, each.version, 0, None) for each in passes]
    checked = _Checked(model, seed)
    # For each pass the model in which it found nothing to do: it would find nothing there again.
    finished: list[Model | None] = [None] * len(passes)
    for _ in range(_MAX_ROUNDS if until_stable else 1):
        before = checked.model
        for index, each in enumerate(passes):
            if finished[index] is checked.model:
                continue
            fired, difference = checked.advance(each)
            records[index] = _add(records[index], fired, difference)
            finished[index] = None if fired else checked.model
        if checked.model is before:
            break
    return checked.model, tuple(records)


class _Checked:
    """A Model that only advances by passes whose claims hold."""

    def __init__(self, model: Model, seed: int) -> None:
        self.model = model
        self._feeds = probe(model, seed, _SAMPLES)
        self._outputs: Arrays | None = None

    def advance(self, each: Pass) -> tuple[int, float | None]:
        """Follow one pass; how often it fired, and the difference it made to the outputs."""
        try:
            each.requires(self.model)
            result = each.call(self.model.clone())
            if not result.modified:
                return 0, None
            each.ensures(result.model)
        except EdgekitError:
            raise
        except Exception as error:
            raise _defect(each, f"failed: {type(error).__name__}: {error}") from error
        self._check_graph(each, result.model)
        difference = self._check_function(each, result.model) if each.keeps_function else None
        if not each.keeps_function:
            self._outputs = None
        self.model = result.model
        return result.fired, difference

    def _check_graph(self, each: Pass, after: Model) -> None:
        if (after.inputs, after.outputs) != (self.model.inputs, self.model.outputs):
            raise _defect(each, "changed the inputs or outputs of the model")
        if after.graph.opset_imports.get("") != OPSET or after.proto.ir_version != IR_VERSION:
            raise _defect(each, f"changed the opset or the IR version (they are {OPSET} and {IR_VERSION})")
        names = [node.name for node in after.graph]
        if not all(names) or len(set(names)) < len(names):
            raise _defect(each, "left a node without a name, or with the name of another")
        try:
            onnx.checker.check_model(ir.to_proto(after.proto), full_check=True)
        except Exception as error:
            raise _defect(each, f"left an invalid graph: {str(error).strip()}") from error

    def _check_function(self, each: Pass, after: Model) -> float:
        try:
            before_outputs = self._outputs or _answers(self.model, self._feeds)
            after_outputs = _answers(after, self._feeds)
        except Exception as error:
            raise _defect(each, f"can't be checked, the reference runtime fails: {error}") from error
        difference = _difference(after_outputs, before_outputs)
        if not difference <= each.tolerance:
            raise _defect(
                each,
                f"claims to keep the function within {each.tolerance:.0e}, but changes an output by {difference:.1e}",
            )
        self._outputs = after_outputs
        return difference


def _answers(model: Model, feeds: Arrays) -> Arrays:
    """The outputs, and what goes into an activation that ends one: a saturated softmax would hide any difference."""
    proto = ir.to_proto(model.proto)
    names = [str(value.name) for value in model.graph.outputs]
    looked_behind: set[ir.Value] = set(model.graph.outputs)
    for value in model.graph.outputs:
        end = value.producer()
        logits = end.inputs[0] if end is not None and end.op_type in _SATURATING else None
        if logits is not None and logits.producer() is not None and logits not in looked_behind:
            looked_behind.add(logits)
            proto.graph.output.append(ir.to_proto(logits))
            names.append(f"{value.name} before {end.op_type if end else ''}")
    return dict(zip(names, run_bytes(proto.SerializeToString(), feeds).values(), strict=True))


def _difference(after: Arrays, before: Arrays) -> float:
    """Over what both have: a pass may well replace the activation at the end."""
    common = after.keys() & before.keys()
    return max_relative({name: after[name] for name in common}, {name: before[name] for name in common})


def _defect(each: Pass, what: str) -> DefectError:
    return DefectError(
        f"the pass {each.name!r} (version {each.version}) {what}",
        blame="edgekit",
        remedy="Report it with the model; a pass of your own is at fault itself: see docs/writing-a-pass.md.",
    )


def _add(record: PassRecord, fired: int, difference: float | None) -> PassRecord:
    figures = [figure for figure in (record.max_relative, difference) if figure is not None]
    return replace(record, fired=record.fired + fired, max_relative=max(figures, default=None))
