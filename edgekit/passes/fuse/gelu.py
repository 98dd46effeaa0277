"""GELU, exact and approximate, becomes one operator (Hendrycks and Gimpel, arXiv:1606.08415; ONNX opset 20).

    exact:        x/2 · (1 + erf(x/√2))
    approximate:  x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))

Exporters put the halves, the root and the cube anywhere; all orders are the same product and the same polynomial.
ONNX Script's rules make com.microsoft operators of one order each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgekit.passes.fuse.algebra import affine, equal, gated, maker, polynomial
from edgekit.passes.fuse.rule_pass import RootRule, RulePass, rules_for

__all__ = ["FuseGelu"]

_ROOT = math.sqrt(2 / math.pi)
# What goes into the odd function, by its operator: the attribute of Gelu, and a polynomial, lowest degree first.
_INSIDE = {
    "Erf": ("none", (0.0, 1 / math.sqrt(2))),
    "Tanh": ("tanh", (0.0, _ROOT, 0.0, 0.044715 * _ROOT)),
}


@dataclass(frozen=True)
class _Found:
    x: ir.Value
    approximate: str


class _Gelu(RootRule):
    replaces = ("Mul", "Div")

    def find(self, node: ir.Node) -> _Found | None:
        for coefficient, x, gate in gated(node):
            line = affine(gate.outputs[0], _reader(gate))
            odd = maker(line.base, line.reader)
            if odd is None or odd.op_type not in _INSIDE or not equal(coefficient * line.shift, 0.5):
                continue
            height = coefficient * line.scale
            approximate, wanted = _INSIDE[odd.op_type]
            inside = polynomial(odd.inputs[0], odd, x) or ()
            # Both functions are odd: 1 − erf(−x) is 1 + erf(x).
            turned = [math.copysign(1, height) * figure for figure in inside]
            if equal(abs(height), 0.5) and len(turned) == len(wanted) and all(map(equal, turned, wanted)):
                return _Found(x, approximate)
        return None

    def replacement(self, op: Any, found: _Found) -> Any:
        return op.Gelu(found.x, approximate=found.approximate)


def _reader(gate: ir.Node) -> ir.Node:
    """The one node that reads what `gate` makes."""
    return next(iter(gate.outputs[0].uses())).node


class FuseGelu(RulePass):
    """Fuses x/2 · (1 + erf(x/√2)) and its approximation by tanh into Gelu."""

    name = "fuse-gelu"
    rules = rules_for(_Gelu)
