"""What is particular to OpenVINO's account: it may compute anything, not only products, in half precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgekit.backends import proof
from edgekit.core.evidence import Account, PrecisionProof
from edgekit.core.types import Precision, QuantPlan

__all__ = ["prove"]

_HALF = frozenset({"bfloat16", "float16"})
# They take values out of a stored table as they are; the layers behind them widen what they took.
_MOVING = frozenset({"Gather"})


def prove(plan: QuantPlan, account: Account) -> PrecisionProof:
    """See `edgekit.backends.proof`."""
    found = proof.prove(plan, account)
    return replace(found, violations=(*found.violations, *_halves(plan, account)))


def _halves(plan: QuantPlan, account: Account) -> Iterable[str]:
    for entry in account.compute:
        moves = entry.op in _MOVING and plan.default is Precision.FP16 and entry.precision == "float16"
        if entry.precision in _HALF and not moves:
            yield f"{entry.count} {entry.op} ran in {entry.precision}"
