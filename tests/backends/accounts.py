"""Accounts as a runtime might give them, true or not."""

from __future__ import annotations

from edgekit.core.evidence import Account, OpAccount, Product

__all__ = ["account"]

_PRODUCTS = ("Conv", "CONV", "FullyConnected", "FULLY_CONNECTED", "Gemm", "MatMul", "MATMUL")


def account(weights: dict[str, int], *compute: tuple[str, str, int]) -> Account:
    """Bytes of weights by type; operators with precision and count, whose kernels bear their name and a number."""
    return Account(
        storage=tuple(weights.items()),
        compute=tuple(OpAccount(op, precision, count) for op, precision, count in compute),
        weights=tuple(weights.items()),
        products=tuple(
            Product((f"{op}{number}/part", "relu"), op, precision)
            for op, precision, count in compute
            if any(name in op for name in _PRODUCTS)
            for number in range(count)
        ),
    )
