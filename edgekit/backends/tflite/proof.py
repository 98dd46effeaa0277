"""What a plan promised against the runtime's own account: storage and compute, each on its own."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.core.types import Account, Precision, PrecisionProof, QuantPlan

__all__ = ["prove"]

# The ops that do the arithmetic of convolutions and matrix products.
_HEAVY = frozenset({"BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_STORED = {Precision.INT8: "int8", Precision.FP16: "float16", Precision.FP32: "float32"}
# fp16 is a way to store: LiteRT's CPU kernels widen the weights when the file is loaded.
_COMPUTED = {Precision.INT8: "int8", Precision.FP16: "float32", Precision.FP32: "float32"}


def prove(plan: QuantPlan, account: Account) -> PrecisionProof:
    """What was promised, what is stored and what ran, with each difference as a violation.

    Storage goes by the weights of convolutions and matrix products, compute by the ops that multiply by them; as many
    of those ops as the plan excepts may differ. Dynamic-range int8 (float activations, reported as "float32×int8") is
    not what an int8 plan promises.
    """
    heavy = [entry for entry in account.compute if entry.op in _HEAVY]
    excepted = sum(precision is not plan.default for _, precision in plan.layers)
    return PrecisionProof(
        promised=plan.default,
        storage=_join(kind for kind, size in account.weights if size),
        compute=_join(entry.precision for entry in heavy),
        violations=(*_storage_violations(plan, account), *_compute_violations(plan.default, account, excepted)),
    )


def _storage_violations(plan: QuantPlan, account: Account) -> list[str]:
    stored = {kind: size for kind, size in account.weights if size}
    wanted = _STORED[plan.default]
    allowed = {wanted, *(_STORED[precision] for _, precision in plan.layers)}
    strays = [f"{size} bytes of weights are stored as {kind}" for kind, size in stored.items() if kind not in allowed]
    if stored and wanted not in stored:
        strays.append(f"no weights are stored as {wanted}")
    return strays


def _compute_violations(promised: Precision, account: Account, excepted: int) -> list[str]:
    wanted = _COMPUTED[promised]
    heavy = [entry for entry in account.compute if entry.op in _HEAVY]
    strays = [entry for entry in heavy if entry.precision != wanted]
    found = [f"{entry.count} × {entry.op} ran in {entry.precision}, not {wanted}" for entry in strays]
    if heavy and len(strays) == len(heavy):
        return [*found, f"nothing ran in {wanted}"]
    return found if sum(entry.count for entry in strays) > excepted else []


def _join(names: Iterable[str]) -> str:
    return " + ".join(sorted(set(names))) or "none"
