"""What artifacts did on devices: their answers, their metrics and their times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgekit.cli.tables import cells
from edgekit.cli.tables.cells import print_rows

if TYPE_CHECKING:
    from edgekit.core.evidence import Measurement, Metric
    from edgekit.devices.fleet import Outcome
    from edgekit.pipeline.compare import Comparison
    from edgekit.pipeline.validate import Validation

__all__ = [
    "print_comparisons", "print_failures", "print_metrics", "print_timings", "print_validation", "print_validations",
]  # fmt: skip


def print_validation(validation: Validation) -> None:
    """What held, then the metrics."""
    console, proof = cells.console(), validation.proof
    console.print(f"{escape(validation.artifact)}: every file is what the manifest says")
    measured = validation.measurement
    emulated = " (emulated)" if measured.kind == "emulated" else ""
    console.print(f"golden answers: {validation.golden_sqnr:.1f} dB on {escape(measured.where)}{emulated}")
    console.print(
        f"precision: {proof.promised} promised; stored {escape(proof.storage)}, computed {escape(proof.compute)}"
    )
    if validation.metrics:
        print_metrics(validation.metrics)
    else:
        console.print("accuracy: not looked at; --data D judges it, and --model MODEL holds it against the original")
    if validation.agreement:
        console.print(f"answers as this host: {cells.agreement(validation.agreement)}")
    for gate in validation.gates:
        console.print(cells.gate(gate))


def print_validations(rows: Iterable[tuple[str, Validation]]) -> None:
    """One row a device, and the gates that it did not pass."""
    header = ("device", "evidence", "runtime", "golden", "accuracy", "agrees with this host", "verdict")
    found, notes = [], []
    for name, each in rows:
        accuracy = cells.accuracy(each.metrics) if each.metrics else "not looked at"
        measured, verdict = each.measurement, f"failed ({each.exit_code})" if each.exit_code else "as built"
        golden = f"{each.golden_sqnr:.1f} dB"
        agrees = cells.agreement(each.agreement)
        found.append((name, measured.kind, measured.runtime, golden, accuracy, agrees, verdict))
        notes += [f"[dim]{escape(name)}:[/] {cells.gate(gate)}" for gate in each.gates if gate.passed is not True]
    print_rows(header, found)
    for note in notes:
        cells.console().print(note)


def print_metrics(metrics: Sequence[Metric]) -> None:
    """One row a metric, the float model's value beside the artifact's where there is one."""
    rows = [
        (m.name, *map(cells.number, (m.float, m.artifact, m.drop)), cells.interval(m), m.unit, str(m.n))
        for m in metrics
    ]
    print_rows(("metric", "float", "artifact", "drop", "95 % interval", "unit", "n"), rows)


def print_timings(rows: Iterable[tuple[str, Measurement]], title: str = "artifact") -> None:
    """One row an artifact, or a device, in milliseconds; then why a run proves no latency."""
    header = (title, "p50 ms", "p90", "p99", "CPU", "first", "load", "threads", "runtime", "on")
    found, notes = [], []
    for name, measured in rows:
        t = measured.timing
        times = (t.p50_ms, t.p90_ms, t.p99_ms, t.cpu_ms, t.first_ms, t.load_ms) if t else ()
        shown = [f"{time:.3f}" for time in times] or [f"{measured.kind}: no latency", *[""] * 5]
        found.append((name, *shown, measured.threads, measured.runtime, measured.where))
        notes += [f"{name}: invalid, proves no latency: {reason}" for reason in measured.invalid]
    print_rows(header, found)
    for note in notes:
        cells.console().print(escape(note), style="yellow")


def print_comparisons(rows: Iterable[tuple[str, Comparison]]) -> None:
    """Of each: how long both took, and the verdict."""
    for device, result in rows:
        print_timings(zip((result.a, result.b), result.measurements, strict=True))
        ratio = "" if result.ratio is None else f"{result.ratio:.3f}"
        interval = "{:.3f} … {:.3f}".format(*result.ci95) if result.ci95 else ""
        print_rows(
            ("device", "A ÷ B in CPU time", "95 % interval", "rounds", "A is"),
            [(device, ratio, interval, result.rounds, result.verdict)],
        )
        for note in result.notes:
            cells.console().print(f"[yellow]note[/]: {escape(note)}")


def print_failures(outcomes: Iterable[Outcome[Any]]) -> None:
    """Of each device that gave no result: why, and what to do next."""
    for outcome in outcomes:
        if outcome.error:
            cells.console().print(
                f"[red]{escape(outcome.board.name)}[/]: {escape(outcome.error.cause)} ({escape(outcome.error.blame)})"
                f"\n  next: {escape(outcome.error.remedy)}"
            )
