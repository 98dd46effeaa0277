"""A model before any build: its layers, what each target takes, and what can be pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from edgekit.cli.tables import cells
from edgekit.cli.tables.cells import print_rows

if TYPE_CHECKING:
    from edgekit.report.inspection import Fusion, Inspection, TargetFit
    from edgekit.report.pruning import PruningExplanation

__all__ = ["print_inspection", "print_pruning"]


def print_inspection(inspection: Inspection) -> None:
    """One row a layer, the totals, and what each target can't take."""
    rows = [
        (r.name, r.op, "×".join(map(str, r.shape)), f"{r.params:,}", f"{r.macs:,}", f"{100 * r.macs_share:.1f} %")
        for r in inspection.layers
    ]
    print_rows(("layer", "op", "shape", "params", "MACs", "share"), rows)
    console = cells.console()
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


def print_pruning(explanation: PruningExplanation) -> None:
    """Each group with its chain, then the layers that stay, then what that comes to."""
    console = cells.console()
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
