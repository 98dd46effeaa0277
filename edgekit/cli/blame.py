"""Which layers int8 breaks, as tables on stdout, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.cli.tables import print_line, print_rows

if TYPE_CHECKING:
    from edgekit.core.sensitivity import Cost, Outlier
    from edgekit.report.blame import Blame, BlamedLayer, TargetBlame

__all__ = ["print_blame", "shortened"]


_HEADER = (
    "layer", "op", "is", "blame", "int8 costs", "left", "weights", "output", "weights reach", "output reaches",
    "stands out", "bytes", "time",
)  # fmt: skip


def shortened(blame: Blame, limit: int | None) -> Blame:
    """Only the worst layers, and the operators that take longest."""
    if limit is None:
        return blame

    def few(target: TargetBlame) -> TargetBlame:
        slowest = sorted(target.ops, key=lambda op: -op.us)[:limit]
        return replace(target, layers=target.layers[:limit], ops=tuple(op for op in target.ops if op in slowest))

    return replace(blame, targets=tuple(few(target) for target in blame.targets))


def print_blame(blame: Blame) -> None:
    """Of each target: what int8 costs the whole, then the layers, then the operators."""
    for number, target in enumerate(blame.targets):
        if number:
            print_line("")
        _print_target(target)


def _print_target(target: TargetBlame) -> None:
    print_line(f"{target.target}: built as {target.precision} for {target.backend}")
    judged = "made-up samples" if target.synthetic else "samples"
    print_line(f"all int8, as the network came: {_cost(target.naive)} (on {target.samples} {judged})")
    if target.repaired:
        print_line(f"all int8, as it was compiled: {_cost(target.repaired)}")
    print_rows(_HEADER, [_layer(row) for row in target.layers])
    print_line("")
    if target.ops:
        print_line(
            f"on {target.runtime}, {target.where}: {sum(op.us for op in target.ops):,.1f} µs for these operators"
        )
        rows = [(f"{op.us:,.1f}", f"{100 * op.share:.1f} %", op.op, op.layer or "") for op in target.ops]
        print_rows(("µs", "share", "operator", "layer"), rows)
    if target.note:
        print_line(target.note if target.ops else f"no times of operators: {target.note}")


def _layer(row: BlamedLayer) -> Sequence[str]:
    return (
        row.layer,
        row.op,
        row.precision,
        row.blame,
        _cost(row.cost),
        _cost(row.left) if row.left else "",
        f"{row.weights.sqnr_db:.1f} dB" if row.weights else "",
        f"{row.output.sqnr_db:.1f} dB",
        _span(row.weights_range),
        _span(row.output_range),
        _outliers(row),
        f"{100 * row.bytes_share:.1f} %",
        "" if row.time_share is None else f"{100 * row.time_share:.1f} %",
    )


def _cost(cost: Cost) -> str:
    """The SQNR, and what it means for the answers."""
    said = [f"{cost.sqnr_db:.1f} dB"]
    if cost.drop is not None:
        said.append(f"drop {cost.drop:.1f}")
    if cost.agreement is not None:
        said.append(f"agrees {cost.agreement:.1f} %")
    return ", ".join(said)


def _span(span: tuple[float, float] | None) -> str:
    return f"{span[0]:.3g} … {span[1]:.3g}" if span else ""


def _outliers(row: BlamedLayer) -> str:
    """The furthest channel of each kind."""
    kinds = (("", row.output_outliers), ("weights of ", row.weights_outliers))
    return ", ".join(f"{what}{_outlier(found[0])}" for what, found in kinds if found)


def _outlier(outlier: Outlier) -> str:
    return f"channel {outlier.channel} {outlier.factor:.3g}×"
