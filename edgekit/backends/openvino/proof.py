"""Holds OpenVINO's own account of a compiled model against the promised precisions."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.core.types import Account, OpAccount, Precision, PrecisionProof, QuantPlan

__all__ = ["prove"]

# Layers of the execution graph that do the arithmetic of convolutions and matrix products.
_HEAVY = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
_INTEGER8 = frozenset({"int8", "uint8"})
_HALF = frozenset({"float16", "bfloat16"})
# They take values out of a stored table as they are; the layers behind them widen what they took.
_MOVING = frozenset({"Gather"})
_STORED = {
    Precision.FP32: frozenset({"float32"}),
    Precision.FP16: frozenset({"float16"}),
    Precision.INT8: frozenset({"int8"}),
}


def prove(plan: QuantPlan, account: Account) -> PrecisionProof:
    """What was promised, what is stored and what ran, with each difference as a violation.

    Storage goes by the weights of convolutions and matrix products, compute by the layers that multiply by them. Each
    layer that the plan excepts may be stored and run in float.
    """
    excepted = sum(precision is not plan.default for _, precision in plan.layers)
    heavy = [entry for entry in account.compute if entry.op in _HEAVY]
    return PrecisionProof(
        promised=plan.default,
        storage=_join(dtype for dtype, size in account.weights if size),
        compute=_join(_computed(entry) for entry in heavy),
        violations=(
            *_storage_violations(plan.default, account, excepted),
            *_compute_violations(plan, account, excepted),
        ),
    )


def _storage_violations(promised: Precision, account: Account, excepted: int) -> list[str]:
    allowed = _STORED[promised] | (frozenset({"float32"}) if excepted else frozenset())
    found = dict(account.weights)
    wrong = [
        f"{size} bytes of weights are stored as {dtype}" for dtype, size in account.weights if dtype not in allowed
    ]
    if promised is not Precision.FP32 and not _STORED[promised] & found.keys():
        wrong.append(f"no weights are stored as {promised}")
    return wrong


def _compute_violations(plan: QuantPlan, account: Account, excepted: int) -> list[str]:
    if plan.default is Precision.INT8:
        heavy = [entry for entry in account.compute if entry.op in _HEAVY]
        floating = [entry for entry in heavy if entry.precision not in _INTEGER8]
        wrong = _ran(floating) if sum(entry.count for entry in floating) > excepted else []
        wrong += _ran(entry for entry in account.compute if entry.precision in _HALF and entry not in floating)
        return wrong if len(floating) < len(heavy) else [*wrong, "nothing ran in int8"]
    # Both float precisions compute in float32: fp16 is a way to store.
    computing = [
        entry
        for entry in account.compute
        if not (entry.op in _MOVING and plan.default is Precision.FP16 and entry.precision == "float16")
    ]
    return _ran(
        entry
        for entry in computing
        if entry.precision in _HALF or (entry.op in _HEAVY and entry.precision != "float32")
    )


def _ran(entries: Iterable[OpAccount]) -> list[str]:
    return [f"{entry.count} {entry.op} ran in {entry.precision}" for entry in entries]


def _computed(entry: OpAccount) -> str:
    return "int8" if entry.precision in _INTEGER8 else entry.precision


def _join(names: Iterable[str]) -> str:
    return " + ".join(sorted(set(names))) or "none"
