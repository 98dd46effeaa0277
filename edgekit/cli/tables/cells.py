"""What all tables are made of: the console, plain rows, and how figures are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from edgekit.core.evidence import Gate, Metric

__all__ = ["accuracy", "agreement", "console", "gate", "interval", "number", "print_line", "print_rows", "table"]


def print_rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table."""
    plain = table(*header)
    for row in rows:
        plain.add_row(*(escape(str(cell)) for cell in row))
    console().print(plain)


def print_line(text: str) -> None:
    """A line as it is."""
    console().print(escape(text), soft_wrap=True)


def console() -> Console:
    """stdout, as wide as it is."""
    # A pipe has no width: lines are then as long as they need to be, for grep.
    found = Console(highlight=False)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=200)


def table(*header: str) -> Table:
    """An empty table without lines."""
    empty = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        empty.add_column(title, overflow="fold")
    return empty


def accuracy(metrics: Sequence[Metric]) -> str:
    """The first metric, the one that is gated."""
    if not metrics:
        return "unknown (no data)"
    first = metrics[0]
    if first.drop is None:
        return escape(f"{first.name} {number(first.artifact)} {first.unit} {interval(first)}".strip())
    return escape(f"{first.name} {number(first.float)} → {number(first.artifact)} {interval(first)}".strip())


def agreement(metrics: Sequence[Metric]) -> str:
    """How many answers are those of this host, and how near all are to them."""
    named = [(metric.name.partition(":")[0], metric) for metric in metrics]
    counted = (f"{round(m.artifact / 100 * m.n):,} of {m.n:,}" for name, m in named if name == "agreement")
    near = (f"{m.artifact:.1f} dB" for name, m in named if name in {"sqnr", "logits_sqnr"})
    return ", ".join(each for each in (next(counted, ""), next(near, "")) if each)


def gate(judged: Gate) -> str:
    """A gate with its verdict, its limit and what was found."""
    state = {True: "[green]passed[/]", False: "[red]failed[/]", None: "[yellow]unproven[/]"}[judged.passed]
    found = "" if judged.value is None else f", found {number(judged.value)}"
    return f"{escape(judged.name)} {state} (limit {number(judged.limit)}{found}) {escape(judged.note)}".rstrip()


def interval(metric: Metric) -> str:
    """The 95 % interval of the drop, or of the value; nothing where there is none."""
    return f"[{metric.ci95[0]:+.2f}, {metric.ci95[1]:+.2f}]" if metric.ci95 else ""


def number(value: Any) -> str:
    """Four digits of a float; nothing of None."""
    return f"{value:,.4g}" if isinstance(value, float) else "" if value is None else str(value)
