"""`edgekit bench`: time an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import AsJson, Debug, Threads

__all__ = ["register"]

_HELP = """Time an artifact on this machine: warm-up, then single inferences; p50, p90, p99, CPU time, first, load.

\b
Example:  edgekit bench build/digits-cnn/intel-cpu
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("bench", help=_HELP, short_help="Time an artifact.")(_bench)


def _bench(
    *,
    artifact: Annotated[
        Path, typer.Argument(metavar="ARTIFACT", help="A target's folder, or a .tflite, .xml or .onnx.")
    ],
    threads: Threads = None,
    max_seconds: Annotated[float, typer.Option("--max-seconds", min=0.1, help="End the timing then.")] = 20.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_timings
    from edgekit.pipeline.bench import bench

    with progress_display():
        measurement, answer = bench(artifact, threads=threads or 1, max_seconds=max_seconds)
    if as_json:
        print_json(answer)
    else:
        print_timings([(str(artifact), measurement)])
