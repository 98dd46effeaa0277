"""Holds ONNX Runtime's own account of a session, its profile, against the promised precisions."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.core.types import Account, OpAccount, Precision, PrecisionProof, QuantPlan

__all__ = ["is_heavy", "is_integer_kernel", "prove"]

_INTEGER8 = frozenset({"int8", "uint8"})
# Whatever the runtime fuses a convolution or a matrix product into, one of these is in its name.
_HEAVY = ("Conv", "Gemm", "MatMul")


def is_heavy(op: str) -> bool:
    """Whether an operator does the arithmetic of convolutions or matrix products."""
    return any(part in op for part in _HEAVY)


def is_integer_kernel(op: str) -> bool:
    """Whether an operator multiplies integers: QLinearConv, QGemm, QLinearMatMul, MatMulIntegerToFloat."""
    return is_heavy(op) and (op.startswith("Q") or "Integer" in op)


def prove(plan: QuantPlan, account: Account) -> PrecisionProof:
    """What was promised, what is stored and what ran, with each difference as a violation.

    Storage goes by the weights of convolutions and matrix products, compute by the kernels that ran for them. As many
    of these may be float as layers that the plan excepts.
    """
    excepted = sum(precision is not plan.default for _, precision in plan.layers)
    heavy = [entry for entry in account.compute if is_heavy(entry.op)]
    return PrecisionProof(
        promised=plan.default,
        storage=_join(dtype for dtype, size in account.weights if size),
        compute=_join(_computed(entry) for entry in heavy),
        violations=(
            *_storage_violations(plan.default, account, excepted),
            *_compute_violations(plan.default, heavy, excepted),
        ),
    )


def _storage_violations(promised: Precision, account: Account, excepted: int) -> list[str]:
    wanted, other = ("int8", "float32") if promised is Precision.INT8 else ("float32", "int8")
    allowed = {wanted, *([other] if excepted else [])}
    stored = {dtype: size for dtype, size in account.weights if size}
    wrong = [f"{size} bytes of weights are stored as {dtype}" for dtype, size in stored.items() if dtype not in allowed]
    if wanted not in stored and (stored or promised is Precision.INT8):
        wrong.append(f"no weights are stored as {promised}")
    return wrong


def _compute_violations(promised: Precision, heavy: list[OpAccount], excepted: int) -> list[str]:
    wanted = "int8" if promised is Precision.INT8 else "float32"
    strays = [entry for entry in heavy if _computed(entry) != wanted]
    wrong = [f"{entry.count} {entry.op} ran in {entry.precision}" for entry in strays]
    if len(strays) == len(heavy) and (heavy or promised is Precision.INT8):
        return [*wrong, f"nothing ran in {promised}"]
    return wrong if sum(entry.count for entry in strays) > excepted else []


def _computed(entry: OpAccount) -> str:
    return "int8" if entry.precision in _INTEGER8 else entry.precision


def _join(names: Iterable[str]) -> str:
    return " + ".join(sorted(set(names))) or "none"
