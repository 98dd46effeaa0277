"""HardSigmoid and HardSwish, as exporters spell them, become one operator each.

    HardSigmoid(x) = max(0, min(1, αx + β))        HardSwish(x) = x · HardSigmoid(x) with α = 1/6, β = 1/2

(the operators' definitions in ONNX). Both are written with the division inside the clipping or behind it, as a factor
or a divisor, in any order. ONNX Script's rules know one order of each, and take 3.0003 for 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgekit.passes.fuse.algebra import affine, equal, gated, polynomial, product, same_shape, sole_maker
from edgekit.passes.fuse.clips import bounds
from edgekit.passes.fuse.rule_pass import RootRule, RulePass, rules_for

__all__ = ["FuseHardSigmoid", "FuseHardSwish"]

_ALPHA, _BETA = 1 / 6, 0.5


@dataclass(frozen=True)
class _Sigmoid:
    """max(0, min(1, `alpha`·`x` + 1/2))."""

    x: ir.Value
    alpha: float


class _HardSwish(RootRule):
    replaces = ("Mul", "Div")

    def find(self, node: ir.Node) -> ir.Value | None:
        """The x of x · HardSigmoid(x) that ends in `node`."""
        return next((x for coefficient, x, gate in gated(node) if _is_gate(gate, x, coefficient)), None)

    def replacement(self, op: Any, found: ir.Value) -> Any:
        return op.HardSwish(found)


def _is_gate(node: ir.Node, x: ir.Value, coefficient: float) -> bool:
    """Whether `coefficient` times what `node` makes is HardSigmoid(x, 1/6, 1/2)."""
    if node.op_type == "HardSigmoid":
        figures = (node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5))
        return node.inputs[0] is x and equal(coefficient, 1) and equal(figures[0], _ALPHA) and equal(figures[1], _BETA)
    clip = bounds(node)
    line = polynomial(clip.x, node, x) if clip is not None else None
    if clip is None or line is None or len(line) != 2:
        return False
    scaled = (coefficient * figure for figure in (clip.low, clip.high, line[1], line[0]))
    return all(map(equal, scaled, (0, 1, _ALPHA, _BETA)))


class _HardSigmoid(RootRule):
    replaces = ("Mul", "Div", "Clip")

    def find(self, node: ir.Node) -> _Sigmoid | None:
        """The x and α of max(0, min(1, αx + 1/2)) that ends in `node`; with another β it is none of the field's."""
        found = product(node)
        factor = found.factors[0] if len(found.factors) == 1 else None
        inner = node if factor is node.outputs[0] else sole_maker(factor)
        if inner is None:
            return None
        clip = bounds(inner)
        if clip is None or not (equal(found.coefficient * clip.low, 0) and equal(found.coefficient * clip.high, 1)):
            return None
        line = affine(clip.x, inner)
        if not equal(found.coefficient * line.shift, _BETA) or not same_shape(line.base, node.outputs[0]):
            return None
        return _Sigmoid(line.base, found.coefficient * line.scale)

    def replacement(self, op: Any, found: _Sigmoid) -> Any:
        return op.HardSigmoid(found.x, alpha=found.alpha, beta=_BETA)


class FuseHardSwish(RulePass):
    """Fuses x · clip(x + 3, 0, 6) / 6, and what equals it, into HardSwish."""

    name = "fuse-hard-swish"
    rules = rules_for(_HardSwish)


class FuseHardSigmoid(RulePass):
    """Fuses clip(αx + ½, 0, 1), and what equals it, into HardSigmoid."""

    name = "fuse-hard-sigmoid"
    rules = rules_for(_HardSigmoid)
