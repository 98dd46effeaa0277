"""Kernels of ONNX Runtime by their names."""

from __future__ import annotations

__all__ = ["is_heavy", "is_integer_kernel"]

# Whatever the runtime fuses a convolution or a matrix product into, one of these is in its name.
_HEAVY = ("Conv", "Gemm", "MatMul")


def is_heavy(op: str) -> bool:
    """Whether an operator does the arithmetic of convolutions or matrix products."""
    return any(part in op for part in _HEAVY)


def is_integer_kernel(op: str) -> bool:
    """Whether an operator multiplies integers: QLinearConv, QGemm, MatMulIntegerToFloat, DynamicQuantizeMatMul."""
    return is_heavy(op) and (op.startswith(("Q", "DynamicQ")) or "Integer" in op)
