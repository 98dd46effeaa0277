"""A build: a row a target, device and candidate, and what there is to say of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgekit.cli.tables import cells
from edgekit.cli.tables.cells import print_rows

if TYPE_CHECKING:
    from edgekit.passes.recover.settings import LearningCurve
    from edgekit.report.build_report import (
        BuildReport,
        DeviceReport,
        Latency,
        PrunedReport,
        RepairedReport,
        TargetReport,
        ThinnedReport,
    )

__all__ = ["print_build"]


def print_build(report: BuildReport) -> None:
    """One row a target, then what is unproven or failed, and where the files are."""
    console = cells.console()
    table = cells.table(
        "target", "precision", "bytes", "of float", "download", "of float", "accuracy", "speed", "verdict"
    )
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


def _target_row(target: TargetReport) -> tuple[str, ...]:
    if target.error:
        return (escape(target.target), *[""] * 7, f"[red]failed ({target.exit_code})[/]")
    verdict = {True: "[green]passed[/]", False: f"[red]failed ({target.exit_code})[/]", None: "[yellow]unproven[/]"}
    return (
        escape(target.target),
        str(target.precision),
        *_size(target.bytes, target.float_bytes),
        *_size(target.download_bytes, target.float_download_bytes),
        cells.accuracy(target.metrics),
        _speed(target),
        verdict[target.passed],
    )


def _size(size: int | None, of_float: int | None) -> tuple[str, str]:
    """Bytes, and their share of the float model's."""
    return (f"{size:,}" if size else "", f"{size / of_float:.2f}×" if size and of_float else "")


def _device_row(device: DeviceReport) -> tuple[str, ...]:
    if device.error:
        return (device.name, "", "", "", "", "", f"failed ({device.exit_code})")
    verdict = {True: "passed", False: f"failed ({device.exit_code})", None: "unproven"}[device.passed]
    agrees = cells.agreement(device.agreement) or ("" if device.golden_sqnr is None else f"{device.golden_sqnr:.1f} dB")
    speed = "no latency: emulated" if device.kind == "emulated" else _latency(device.latency, "")
    return (device.name, str(device.kind), device.runtime, cells.accuracy(device.metrics), agrees, speed, verdict)


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
    yield from _repair(target.repaired)
    for device in target.devices:
        if device.error:
            yield f"{escape(device.name)}: {escape(device.error['cause'])}\n  next: {escape(device.error['remedy'])}"
    for gate in target.gates:
        if gate.passed is not True:
            yield cells.gate(gate)
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
    shrunk = "factorized" if pruned.factorized else "pruned"
    ratio = "" if pruned.dense_ratio is None else f"{pruned.dense_ratio:.2f}× the time{place} and "
    yield (
        f"{shrunk} to {pruned.macs:.2f} of the MACs, {pruned.params:.2f} of the parameters; {ratio}"
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


def _repair(repaired: RepairedReport | None) -> Iterable[str]:
    """What was done before the network was made int8, and what that brought on the selection split."""
    from edgekit.core.repair import PLAIN

    if repaired is None:
        return
    if repaired.repair == PLAIN:
        if repaired.tried[1:]:
            yield "int8 not repaired: nothing that was tried does better"
        return
    chosen = [row for row in repaired.tried if row["repair"] == str(repaired.repair)]
    rows = [row for row in repaired.tried[:1] if row not in chosen] + chosen
    found = " → ".join(f"{row['sqnr']:.1f}" for row in rows)
    drops = " → ".join(f"{row['drop']:.2f}" for row in rows) if any(row["drop"] for row in rows) else ""
    gain = f" ({found} dB{f', drop {drops}' if drops else ''} on the selection split)" if rows else ""
    yield f"int8 repaired: {repaired.repair}{gain}"


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
