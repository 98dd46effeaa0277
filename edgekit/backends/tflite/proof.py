"""What a plan promised against the runtime's own account: storage and compute, each on its own."""

from __future__ import annotations

from edgekit.core.types import Account, Precision, PrecisionProof, QuantPlan

__all__ = ["prove"]

_HEAVY = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "CONV_3D"}
_STORED = {Precision.INT8: "int8", Precision.FP16: "float16", Precision.FP32: "float32"}
_COMPUTED = {Precision.INT8: "int8", Precision.FP16: "float32", Precision.FP32: "float32"}
# Scalars and per-channel vectors of ops without an int8 kernel stay float beside int8 weights.
_FLOAT_SHARE = 0.05
_FLOAT_BYTES = 1024


def prove(plan: QuantPlan, account: Account) -> PrecisionProof:
    """Hold `account` against `plan`.

    Every convolution and dense layer must compute in the promised type, but for as many as `plan.layers` names; the
    constants must be stored in it, but for biases (int32, or float beside float) and small float constants.
    """
    promised = plan.default
    violations = (*_storage_violations(plan, account), *_compute_violations(plan, account))
    storage = ", ".join(f"{kind} {size}" for kind, size in account.storage) or "none"
    return PrecisionProof(promised, storage, _COMPUTED[promised] if not violations else _heavy(account), violations)


def _storage_violations(plan: QuantPlan, account: Account) -> list[str]:
    promised, exceptions = plan.default, plan.layers
    stored = dict(account.storage)
    wanted = _STORED[promised]
    total = sum(stored.values())
    if not total:
        return []
    if wanted not in stored:
        return [f"no constant is stored as {wanted}"]
    if exceptions:
        return []
    floats = sum(stored.get(kind, 0) for kind in ("float32", "float64", "float16") if kind != wanted)
    if promised is Precision.INT8 and floats > max(_FLOAT_SHARE * stored[wanted], _FLOAT_BYTES):
        return [f"{floats} bytes of constants are float beside {stored[wanted]} of int8"]
    if promised is Precision.FP16 and stored.get("float32", 0) > stored[wanted]:
        return [f"{stored['float32']} bytes of constants are float32 beside {stored[wanted]} of float16"]
    if promised is Precision.FP32 and (narrow := sorted({"int8", "float16", "uint8", "int4"} & set(stored))):
        return [f"constants are stored as {', '.join(narrow)}"]
    return []


def _compute_violations(plan: QuantPlan, account: Account) -> list[str]:
    wanted = _COMPUTED[plan.default]
    strays = [op for op in account.compute if op.op in _HEAVY and op.precision != wanted]
    if sum(op.count for op in strays) <= len(plan.layers):
        return []
    return [f"{op.count} × {op.op} ran in {op.precision}, not {wanted}" for op in strays]


def _heavy(account: Account) -> str:
    return ", ".join(f"{op.count} × {op.op} {op.precision}" for op in account.compute if op.op in _HEAVY)
