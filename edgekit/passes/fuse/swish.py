"""x · sigmoid(αx) becomes Swish(x, α), which for α = 1 is SiLU (the operator's definition in ONNX, opset 24)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgekit.passes.fuse.algebra import equal, gated, polynomial
from edgekit.passes.fuse.rule_pass import RootRule, RulePass, rules_for

__all__ = ["FuseSwish"]


@dataclass(frozen=True)
class _Found:
    x: ir.Value
    alpha: float


class _Swish(RootRule):
    replaces = ("Mul", "Div")

    def find(self, node: ir.Node) -> _Found | None:
        for coefficient, x, gate in gated(node):
            line = polynomial(gate.inputs[0], gate, x) if gate.op_type == "Sigmoid" and equal(coefficient, 1) else None
            if line is not None and len(line) == 2 and equal(line[0], 0):
                return _Found(x, line[1])
        return None

    def replacement(self, op: Any, found: _Found) -> Any:
        return op.Swish(found.x) if equal(found.alpha, 1) else op.Swish(found.x, alpha=found.alpha)


class FuseSwish(RulePass):
    """Fuses x · sigmoid(αx) into Swish."""

    name = "fuse-swish"
    rules = rules_for(_Swish)
