"""Holds a runtime's own account against the promised precisions, layer by layer.

Storage goes by the weights of convolutions and matrix products, all of them and, where the account says whose they are,
one by one; compute by these kernels themselves. A kernel is known by the names of the layers in it; one that bears none
of a layer in the plan owes the plan's default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from edgekit.core.evidence import Account, OpAccount, PrecisionProof, Product
from edgekit.core.types import Precision, QuantPlan

__all__ = ["prove"]

_INTEGER8 = frozenset({"int8", "uint8"})
# How an account calls the weights of each precision; int4 and fp16 are ways to store, and compute in int8 and float32.
_STORED = {
    Precision.INT8: frozenset({"int8", "int4"}),
    Precision.DYNAMIC: frozenset({"int8"}),
    Precision.FP16: frozenset({"float16"}),
    Precision.FP32: frozenset({"float32"}),
}
_COMPUTED = {
    Precision.INT8: "int8",
    Precision.DYNAMIC: "float32×int8",
    Precision.FP16: "float32",
    Precision.FP32: "float32",
}
# Names that a message lists.
_MOST_NAMES = 5


def prove(plan: QuantPlan, account: Account, called: Callable[[str], str] = str) -> PrecisionProof:
    """What was promised, what is stored and what ran, with each difference as a violation.

    Dynamic int8 ("float32×int8") is not what an int8 plan promises, nor the other way round.

    Args:
        plan: the artifact's own, which names every layer that multiplies.
        account: the runtime's.
        called: the name that a layer has in it.
    """
    return PrecisionProof(
        promised=plan.default,
        storage=_join(kind for kind, size in account.weights if size),
        compute=_join(_computed(product) for product in account.products),
        violations=(
            *_storage_violations(plan, account),
            *_compute_violations(plan, account, {called(layer): wanted for layer, wanted in plan.layers}),
        ),
        islands=account.islands,
    )


def _storage_violations(plan: QuantPlan, account: Account) -> list[str]:
    stored = {kind: size for kind, size in account.weights if size}
    wanted = _STORED[plan.default]
    allowed = wanted.union(*(_STORED[precision] for _, precision in plan.layers))
    wrong = [f"{size} bytes of weights are stored as {kind}" for kind, size in stored.items() if kind not in allowed]
    absent = stored and wanted.isdisjoint(stored)
    return [*wrong, f"no weights are stored as {' or '.join(sorted(wanted, reverse=True))}"] if absent else wrong


def _compute_violations(plan: QuantPlan, account: Account, layers: Mapping[str, Precision]) -> list[str]:
    wrong: dict[str, list[str]] = {}
    for _, group in groupby(sorted(account.products, key=lambda each: each.layers), lambda each: each.layers):
        kernels = list(group)
        owed = [layers[name] for name in _owners(kernels[0], layers)] or [plan.default]
        for kernel in _unpaid(kernels, [_COMPUTED[precision] for precision in owed]):
            wrong.setdefault(f"ran in {kernel.precision}", []).append(_name(kernel, layers))
        stored = frozenset[str]().union(*(_STORED[precision] for precision in owed))
        for kernel in (each for each in kernels if each.stored and each.stored not in stored):
            wrong.setdefault(f"is stored as {kernel.stored}", []).append(_name(kernel, layers))
    told = [f"{_listed(names)} {ran}" for ran, names in wrong.items()]
    if plan.default in (Precision.INT8, Precision.DYNAMIC) and _COMPUTED[plan.default] not in _ran(account):
        told.append(f"nothing ran in {_COMPUTED[plan.default]}")
    return told


def _unpaid(kernels: list[Product], owed: list[str]) -> list[Product]:
    """The kernels that ran in no precision that is owed; where they are as many as the layers, each pays for one."""
    if len(kernels) != len(owed):
        return [kernel for kernel in kernels if _computed(kernel) not in owed]
    left = Counter(owed)
    left.subtract(_computed(kernel) for kernel in kernels)
    return [kernel for kernel in kernels if left[_computed(kernel)] < 0]


def _owners(kernel: Product, layers: Mapping[str, Precision]) -> list[str]:
    """The layers of the plan in a kernel: their parts are called "<layer>/…"."""
    found = []
    for part in kernel.layers:
        steps = part.split("/")
        names = ("/".join(steps[:end]) for end in range(len(steps), 0, -1))
        if (owner := next((name for name in names if name in layers), None)) is not None:
            found.append(owner)
    return list(dict.fromkeys(found))


def _name(kernel: Product, layers: Mapping[str, Precision]) -> str:
    return next(iter(_owners(kernel, layers)), kernel.layers[0] if kernel.layers else kernel.op)


def _ran(account: Account) -> set[str]:
    return {_computed(each) for each in account.products or account.compute}


def _computed(kernel: Product | OpAccount) -> str:
    return "int8" if kernel.precision in _INTEGER8 else kernel.precision


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _join(names: Iterable[str]) -> str:
    return " + ".join(sorted(set(names))) or "none"
