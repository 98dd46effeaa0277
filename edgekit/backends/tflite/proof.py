"""What is particular to TensorFlow Lite's account: tensors bear the names of TensorFlow scopes."""

from __future__ import annotations

from edgekit.backends import proof
from edgekit.core.evidence import Account, PrecisionProof
from edgekit.core.scopes import legal_name
from edgekit.core.types import QuantPlan

__all__ = ["prove"]


def prove(plan: QuantPlan, account: Account) -> PrecisionProof:
    """See `edgekit.backends.proof`."""
    return proof.prove(plan, account, legal_name)
