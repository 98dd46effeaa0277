"""`edgekit bench`: time an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import AsJson, BoardsFile, Debug, Devices, Threads

__all__ = ["register"]

_HELP = """Time an artifact here or on devices: warm-up, then single inferences; p50, p90, p99, CPU time, first, load.

\b
Example:  edgekit bench build/digits-cnn/intel-cpu

\b
Example:  edgekit bench build/digits-cnn/raspberry-pi-5 --device ssh://pi@kitchen --device ssh://pi@cellar
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("bench", help=_HELP, short_help="Time an artifact.")(_bench)


def _bench(
    *,
    artifact: Annotated[
        Path, typer.Argument(metavar="ARTIFACT", help="A target's folder, or a .tflite, .xml or .onnx.")
    ],
    device: Devices = None,
    boards: BoardsFile = None,
    threads: Threads = None,
    max_seconds: Annotated[float, typer.Option("--max-seconds", min=0.1, help="End the timing then.")] = 20.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.boards import document, is_fleet, on_boards
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_failures, print_timings
    from edgekit.devices.fleet import fleet_exit_code
    from edgekit.pipeline.bench import bench

    with progress_display():
        outcomes = on_boards(
            device,
            boards,
            lambda there: bench(artifact, device=there, threads=threads or 1, max_seconds=max_seconds),
        )
    code, fleet = fleet_exit_code(outcomes), is_fleet(outcomes)
    if as_json:
        print_json(document(outcomes, lambda result: result[1], code))
    else:
        rows = [(each.board.name if fleet else str(artifact), each.result[0]) for each in outcomes if each.result]
        print_timings(rows, title="device" if fleet else "artifact")
        print_failures(outcomes)
    raise typer.Exit(code)
