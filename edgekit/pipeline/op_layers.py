"""Which layer an operator is of that a runtime executed, by the names that the artifact keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgekit.core.scopes import legal_name
from edgekit.core.sensitivity import LayerRanges, Sensitivity
from edgekit.devices.answer import OpTime
from edgekit.report.blame import OpRow

__all__ = ["op_rows"]

# Operators that multiply by weights, by what their types contain in one runtime or another.
_PRODUCT = re.compile("conv|connected|gemm|matmul", re.IGNORECASE)


def op_rows(ops: Sequence[OpTime], found: Sensitivity) -> tuple[OpRow, ...]:
    """The operators with their layers and shares, in the order in which they ran.

    Several nodes may have become one operator: of its names, one that has weights counts where it multiplies, else the
    first.

    Args:
        ops: what each took.
        found: what the layers of the Model are.
    """
    pairs = list(zip(found.layers, found.ranges, strict=True))
    known = {legal_name(name): ranges for cost, ranges in pairs for name in cost.values}
    known |= {legal_name(node): ranges for _, ranges in pairs for node in ranges.nodes}
    total = sum(op.us for op in ops) or 1.0
    rows = []
    for op in ops:
        candidates = list(_candidates((legal_name(part) for name in op.names for part in name.split(";")), known))
        products = [layer for layer in candidates if layer.macs] if _PRODUCT.search(op.op) else []
        layer = next(iter(products or candidates), None)
        rows.append(OpRow(op.op, op.names, layer.layer if layer else None, op.us, op.us / total))
    return tuple(rows)


def _candidates(names: Iterable[str], known: Mapping[str, LayerRanges]) -> Iterator[LayerRanges]:
    """Layers that are called as a name or as what stands before one of its slashes, the longest first."""
    for name in names:
        parts = name.split("/")
        whole = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
        yield from (known[each] for each in whole if each in known)
