"""Results as tables on stdout, for people."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from edgekit.core.types import Gate, Measurement, Metric
    from edgekit.devices.fleet import Outcome
    from edgekit.passes.recover.settings import LearningCurve
    from edgekit.pipeline.compare import Comparison
    from edgekit.pipeline.validate import Validation
    from edgekit.report.build_report import (
        BuildReport,
        DeviceReport,
        Latency,
        PrunedReport,
        TargetReport,
        ThinnedReport,
    )
    from edgekit.report.inspection import Fusion, Inspection, TargetFit
    from edgekit.report.pruning import PruningExplanation

__all__ = [
    "print_build", "print_comparisons", "print_failures", "print_inspection", "print_line", "print_metrics",
    "print_pruning", "print_rows", "print_timings", "print_validation", "print_validations",
]  # fmt: skip


def print_build(report: BuildReport) -> None:
    """One row a target, then what is unproven or failed, and where the files are."""
    console = _console()
    table = _table("target", "precision", "bytes", "of float", "download", "of float", "accuracy", "speed", "verdict")
    for target in report.targets:
        table.add_row(*_target_row(target))
    console.print(table)
    rows = [(target.target, *_device_row(device)) for target in report.targets for device in target.devices]
    if rows:
        console.print()
        print_rows(
            ("target", "device", "evidence", "runtime", "accuracy", "agrees with this host", "speed", "verdict"), rows
        )
    rows = [(target.target, *_candidate_row(row)) for target in report.targets for row in target.candidates]
    if rows:
        console.print()
        print_rows(("target", "weighed", "bytes", "of float's time", "drop on selection", "in float", "verdict"), rows)
    for target in report.targets:
        for note in _notes(target):
            console.print(f"[dim]{escape(target.target)}:[/] {note}")
    if any(target.files for target in report.targets):
        console.print(f"in {escape(report.out)}")


def print_inspection(inspection: Inspection) -> None:
    """One row a layer, the totals, and what each target can't take."""
    rows = [
        (r.name, r.op, "×".join(map(str, r.shape)), f"{r.params:,}", f"{r.macs:,}", f"{100 * r.macs_share:.1f} %")
        for r in inspection.layers
    ]
    print_rows(("layer", "op", "shape", "params", "MACs", "share"), rows)
    console = _console()
    console.print(
        f"{inspection.params:,} parameters, {inspection.macs / 1e6:,.2f} M MACs, {inspection.weight_bytes:,} bytes of"
        f" weights, at most {inspection.peak_bytes:,} bytes of activations (at {escape(inspection.peak_layer)})"
    )
    if inspection.fusion:
        console.print(escape(_fusion(inspection.fusion)))
    for fit in inspection.targets:
        verdict = "takes every layer" if fit.takes_all else "can not take"
        console.print(f"{escape(fit.target)}: {verdict}{_memory(fit, inspection)}")
        for layer in fit.unsupported:
            console.print(f"  {escape(layer.layer)} ({escape(layer.op)}): {escape(layer.remedy)}")


def print_pruning(explanation: PruningExplanation) -> None:
    """Each group with its chain, then the layers that stay, then what that comes to."""
    console = _console()
    for group in explanation.groups:
        channels = "1 channel" if group.channels == 1 else f"{group.channels} channels"
        console.print(f"[bold]{escape(group.name)}[/]: {channels}, {100 * group.macs_share:.1f} % of the MACs")
        for line in group.because:
            console.print(f"  {escape(line)}", soft_wrap=True)
    for layer in explanation.frozen:
        console.print(f"{escape(layer.layer)}: its channels stay because {escape(layer.reason)}", soft_wrap=True)
    if explanation.groups:
        console.print(
            f"{len(explanation.groups)} groups; at most {100 * explanation.prunable_share:.1f} % of"
            f" {explanation.macs / 1e6:,.2f} M MACs can go, when one channel of each stays"
        )
    else:
        console.print("nothing to prune here")


def _fusion(fusion: Fusion) -> str:
    fired = ", ".join(f"{rule} {count}" for rule, count in fusion.rules if count)
    nodes = f"fused: {fusion.nodes_before} → {fusion.nodes_after} nodes"
    return f"{nodes}: {fired}; at most {fusion.peak_bytes:,} bytes of activations" if fired else f"{nodes}, as it is"


def _memory(fit: TargetFit, inspection: Inspection) -> str:
    """The model's memory in float32 against the target's, where that is known."""
    if not fit.memory_bytes:
        return ""
    peak = inspection.fusion.peak_bytes if inspection.fusion else inspection.peak_bytes
    needed = inspection.weight_bytes + peak
    share = f"; weights and activations in float32 are {100 * needed / fit.memory_bytes:.2g} % of its memory"
    return f"{share}: [red]they do not fit[/]" if needed > fit.memory_bytes else share


def print_validation(validation: Validation) -> None:
    """What held, then the metrics."""
    console, proof = _console(), validation.proof
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
        console.print(f"answers as this host: {_agreement(validation.agreement)}")
    for gate in validation.gates:
        console.print(_gate(gate))


def print_validations(rows: Iterable[tuple[str, Validation]]) -> None:
    """One row a device, and the gates that it did not pass."""
    header = ("device", "evidence", "runtime", "golden", "accuracy", "agrees with this host", "verdict")
    cells, notes = [], []
    for name, each in rows:
        accuracy = _accuracy(each.metrics) if each.metrics else "not looked at"
        measured, verdict = each.measurement, f"failed ({each.exit_code})" if each.exit_code else "as built"
        golden = f"{each.golden_sqnr:.1f} dB"
        agrees = _agreement(each.agreement)
        cells.append((name, measured.kind, measured.runtime, golden, accuracy, agrees, verdict))
        notes += [f"[dim]{escape(name)}:[/] {_gate(gate)}" for gate in each.gates if gate.passed is not True]
    print_rows(header, cells)
    for note in notes:
        _console().print(note)


def print_metrics(metrics: Sequence[Metric]) -> None:
    """One row a metric, the float model's value beside the artifact's where there is one."""
    rows = [
        (m.name, _number(m.float), _number(m.artifact), _number(m.drop), _interval(m), m.unit, str(m.n))
        for m in metrics
    ]
    print_rows(("metric", "float", "artifact", "drop", "95 % interval", "unit", "n"), rows)


def print_timings(rows: Iterable[tuple[str, Measurement]], title: str = "artifact") -> None:
    """One row an artifact, or a device, in milliseconds; then why a run proves no latency."""
    header = (title, "p50 ms", "p90", "p99", "CPU", "first", "load", "threads", "runtime", "on")
    cells, notes = [], []
    for name, measured in rows:
        t = measured.timing
        times = (t.p50_ms, t.p90_ms, t.p99_ms, t.cpu_ms, t.first_ms, t.load_ms) if t else ()
        shown = [f"{time:.3f}" for time in times] or [f"{measured.kind}: no latency", *[""] * 5]
        cells.append((name, *shown, measured.threads, measured.runtime, measured.where))
        notes += [f"{name}: invalid, proves no latency: {reason}" for reason in measured.invalid]
    print_rows(header, cells)
    for note in notes:
        _console().print(escape(note), style="yellow")


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
            _console().print(f"[yellow]note[/]: {escape(note)}")


def print_failures(outcomes: Iterable[Outcome[Any]]) -> None:
    """Of each device that gave no result: why, and what to do next."""
    for outcome in outcomes:
        if outcome.error:
            _console().print(
                f"[red]{escape(outcome.board.name)}[/]: {escape(outcome.error.cause)} ({escape(outcome.error.blame)})"
                f"\n  next: {escape(outcome.error.remedy)}"
            )


def print_rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table."""
    table = _table(*header)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    _console().print(table)


def print_line(text: str) -> None:
    """A line as it is."""
    _console().print(escape(text), soft_wrap=True)


def _console() -> Console:
    # A pipe has no width: lines are then as long as they need to be, for grep.
    console = Console(highlight=False)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=200)


def _table(*header: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        table.add_column(title, overflow="fold")
    return table


def _target_row(target: TargetReport) -> tuple[str, ...]:
    if target.error:
        return (escape(target.target), *[""] * 7, f"[red]failed ({target.exit_code})[/]")
    verdict = {True: "[green]passed[/]", False: f"[red]failed ({target.exit_code})[/]", None: "[yellow]unproven[/]"}
    return (
        escape(target.target),
        str(target.precision),
        *_size(target.bytes, target.float_bytes),
        *_size(target.download_bytes, target.float_download_bytes),
        _accuracy(target.metrics),
        _speed(target),
        verdict[target.passed],
    )


def _size(size: int | None, of_float: int | None) -> tuple[str, str]:
    """Bytes, and their share of the float model's."""
    return (f"{size:,}" if size else "", f"{size / of_float:.2f}×" if size and of_float else "")


def _candidate_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One precision of those that the shipped one was chosen from."""
    if "error" in row:
        return (str(row["precision"]), "", "", "", "", f"out: {row['error']}")
    failings = {"accurate": "loses too much", "small": "larger than float", "cheap": "slower than float"}
    told = ", ".join(said for key, said in failings.items() if not row[key])
    if row.get("harmless"):
        told += ", and no more than float"
    layers = row["float_layers"]
    return (
        str(row["precision"]),
        f"{row['bytes']:,}",
        "" if row["ratio"] is None else f"{row['ratio']:.2f}×",
        "" if row["drop"] is None else f"{row['drop']:.2f}",
        ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if layers[3:] else ""),
        told or "passes",
    )


def _device_row(device: DeviceReport) -> tuple[str, ...]:
    if device.error:
        return (device.name, "", "", "", "", "", f"failed ({device.exit_code})")
    verdict = {True: "passed", False: f"failed ({device.exit_code})", None: "unproven"}[device.passed]
    agrees = _agreement(device.agreement) or ("" if device.golden_sqnr is None else f"{device.golden_sqnr:.1f} dB")
    speed = "no latency: emulated" if device.kind == "emulated" else _latency(device.latency, "")
    return (device.name, str(device.kind), device.runtime, _accuracy(device.metrics), agrees, speed, verdict)


def _agreement(metrics: Sequence[Metric]) -> str:
    """How many answers are those of this host, and how near all are to them."""
    named = [(metric.name.partition(":")[0], metric) for metric in metrics]
    counted = (f"{round(m.artifact / 100 * m.n):,} of {m.n:,}" for name, m in named if name == "agreement")
    near = (f"{m.artifact:.1f} dB" for name, m in named if name in {"sqnr", "logits_sqnr"})
    return ", ".join(each for each in (next(counted, ""), next(near, "")) if each)


def _accuracy(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return "unknown (no data)"
    first = metrics[0]
    if first.drop is None:
        return escape(f"{first.name} {_number(first.artifact)} {first.unit} {_interval(first)}".strip())
    return escape(f"{first.name} {_number(first.float)} → {_number(first.artifact)} {_interval(first)}".strip())


def _speed(target: TargetReport) -> str:
    return _latency(target.latency or target.latency_at_host, "" if target.latency else "@host")


def _latency(latency: Latency | None, place: str) -> str:
    if latency is None:
        return ""
    ratio = f"speedup{place} {1 / latency.ratio:.2f}×, " if latency.ratio else ""
    return f"{ratio}p50 {latency.p50_ms:.3f} ms{place}{' (invalid run)' if latency.invalid else ''}"


def _notes(target: TargetReport) -> Iterable[str]:
    if target.error:
        yield f"{escape(target.error['cause'])}\n  next: {escape(target.error['remedy'])}"
    place = "" if target.latency else "@host"
    if target.pruned:
        yield from _pruning(target.pruned, str(target.precision), target.bytes or 0, place)
    if target.thinned:
        yield _thinning(target.thinned, place)
    yield from map(_training, target.recovered)
    for device in target.devices:
        if device.error:
            yield f"{escape(device.name)}: {escape(device.error['cause'])}\n  next: {escape(device.error['remedy'])}"
    for gate in target.gates:
        if gate.passed is not True:
            yield _gate(gate)
        elif gate.resolved is False:
            yield f"{escape(gate.name)} passed by the estimate, not by its interval: {escape(gate.note)}"
    if target.proof and target.proof.islands:
        yield f"it goes {target.proof.islands}× from int8 to float and back between its layers"
    latency = target.latency or target.latency_at_host
    for reason in latency.invalid if latency else ():
        yield f"the run proves no latency: {escape(reason)}"
    if latency and latency.default_p50_ms and latency.float_p50_ms:
        yield (
            f"float runs {latency.float_p50_ms:.3f} ms at f32; {latency.default_p50_ms:.3f} ms"
            " as the runtime would by default"
        )


def _pruning(pruned: PrunedReport, precision: str, size: int, place: str) -> Iterable[str]:
    """What pruning took, beside the unpruned artifact of the same precision."""
    ratio = "" if pruned.dense_ratio is None else f"{pruned.dense_ratio:.2f}× the time{place} and "
    yield (
        f"pruned to {pruned.macs:.2f} of the MACs, {pruned.params:.2f} of the parameters; {ratio}"
        f"{size / pruned.dense_bytes:.2f}× the bytes of the unpruned {precision} artifact"
    )
    if pruned.speedup and pruned.dense_ratio:
        yield (
            f"pruned for {pruned.speedup:.2f}× the speed: {1 / pruned.dense_ratio:.2f}× measured{place}, after"
            f" {pruned.predicted:.2f}× predicted from its layers"
        )


def _training(curve: LearningCurve) -> str:
    """What a training brought, on the selection split."""
    unit = " dB" if curve.metric == "sqnr" else ""
    seconds = sum(epoch.seconds for epoch in curve.epochs)
    took = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
    gain = f"{curve.metric} {curve.before:.1f} → {curve.after:.1f}{unit} on the selection split"
    return f"trained {'in int8 ' if curve.in_int8 else ''}for {took}: {gain}; {escape(curve.note)}"


def _thinning(thinned: ThinnedReport, place: str) -> str:
    """What became of the weights, and whether the runtime is any faster for it."""
    from edgekit.report.gates import SPEED_RESOLUTION

    books = max((layer["code_book"] or 0 for layer in thinned.layers), default=0)
    zeros = f"{100 * thinned.sparsity:.1f} % of the weights are zero" if thinned.sparsity or not books else ""
    shared = f"the weights of each layer share {books} values at most" if books else ""
    said = ", ".join(filter(None, (zeros, shared)))
    if thinned.filled_ratio is None:
        return said
    ratio = f"{thinned.filled_ratio:.2f}× the time{place} with all weights"
    if thinned.filled_ratio < 1 - SPEED_RESOLUTION:
        return f"{said}: {ratio}"
    return f"{said}: a smaller download; it buys no speed on this runtime ({ratio})"


def _gate(gate: Gate) -> str:
    state = {True: "[green]passed[/]", False: "[red]failed[/]", None: "[yellow]unproven[/]"}[gate.passed]
    found = "" if gate.value is None else f", found {_number(gate.value)}"
    return f"{escape(gate.name)} {state} (limit {_number(gate.limit)}{found}) {escape(gate.note)}".rstrip()


def _interval(metric: Metric) -> str:
    return f"[{metric.ci95[0]:+.2f}, {metric.ci95[1]:+.2f}]" if metric.ci95 else ""


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else "" if value is None else str(value)
