"""Chains of Relu, Clip, Min and Max with single figures become one: ReLU6 as exporters spell it is Clip(0, 6).

Clipping to [a, b] and then to [c, d] is clipping to [a', b'], the second applied to the bounds of the first. ONNX
Script's rules for such chains want the constant on the right, and one rule a pair of operators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.passes.fuse.algebra import maker, same_shape, scalar
from edgekit.passes.fuse.rewiring import new_constant
from edgekit.passes.fuse.rule_pass import RootRule, RulePass, rules_for

__all__ = ["Bounds", "MergeClips", "bounds"]


@dataclass(frozen=True)
class Bounds:
    """min(max(`x`, `low`), `high`); an open end is infinite."""

    x: ir.Value
    low: float
    high: float

    def within(self, low: float, high: float) -> tuple[float, float]:
        """The bounds after a second clipping, to [low, high]."""
        return min(max(self.low, low), high), min(max(self.high, low), high)


def bounds(node: ir.Node) -> Bounds | None:
    """What `node` clips to which figures, or None if it does anything else."""
    if node.domain or not node.inputs or node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    match node.op_type, list(node.inputs):
        case "Relu", [x]:
            found = _bounds(x, 0.0, math.inf)
        case "Clip", [x, *ends]:
            low, high = (_end(ends, index, default) for index, default in enumerate((-math.inf, math.inf)))
            found = _bounds(x, low, high)
        case ("Min" | "Max") as kind, [x, y]:
            value, figure = (x, scalar(y)) if scalar(y) is not None else (y, scalar(x))
            found = _bounds(value, *((-math.inf, figure) if kind == "Min" else (figure, math.inf)))
        case _:
            return None
    return found if found is not None and same_shape(found.x, node.outputs[0]) else None


def _end(ends: list[ir.Value | None], index: int, default: float) -> float | None:
    end = ends[index] if index < len(ends) else None
    return default if end is None else scalar(end)


def _bounds(x: ir.Value | None, low: float | None, high: float | None) -> Bounds | None:
    if x is None or low is None or high is None or math.isnan(low) or math.isnan(high):
        return None
    return Bounds(x, min(low, high), high)


class _Chain(RootRule):
    """Two in a row become one, and one that is a Relu in disguise becomes a Relu."""

    replaces = ("Clip", "Max", "Min", "Relu")

    def find(self, node: ir.Node) -> Bounds | None:
        outer = bounds(node)
        first = maker(outer.x, node) if outer is not None else None
        inner = bounds(first) if first is not None else None
        if outer is not None and inner is not None:
            return Bounds(inner.x, *inner.within(outer.low, outer.high))
        if outer is not None and (outer.low, outer.high) == (0, math.inf) and node.op_type != "Relu":
            return outer
        return None

    def replacement(self, op: Any, found: Bounds) -> Any:
        if (found.low, found.high) == (0, math.inf):
            return op.Relu(found.x)
        graph = found.x.graph
        assert isinstance(graph, ir.Graph)
        ends = [
            new_constant(graph, f"{found.x.name}/{name}", np.array(end, np.float32)) if math.isfinite(end) else None
            for name, end in (("min", found.low), ("max", found.high))
        ]
        return op.Clip(found.x, *ends) if ends[1] is not None else op.Clip(found.x, ends[0])


class MergeClips(RulePass):
    """Merges chains of Relu, Clip, Min and Max with single figures into one Clip or Relu."""

    name = "merge-clips"
    rules = rules_for(_Chain)
