"""`edgekit compare`: two artifacts, one verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import AsJson, Debug, Threads

__all__ = ["register"]

_HELP = """Time A against each B, interleaved, and say whether the difference is real.

\b
Example:  edgekit compare build/a/intel-cpu build/b/intel-cpu
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare", help=_HELP, short_help="Time artifacts against each other.")(_compare)


def _compare(
    *,
    a: Annotated[Path, typer.Argument(metavar="A", help="A target's folder, or a .tflite, .xml or .onnx.")],
    b: Annotated[list[Path], typer.Argument(metavar="B …", help="What to compare it with.")],
    threads: Threads = None,
    max_seconds: Annotated[float, typer.Option("--max-seconds", min=0.1, help="End each timing then.")] = 20.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_rows, print_timings
    from edgekit.pipeline.compare import compare

    with progress_display():
        results = [compare(a, other, threads=threads or 1, max_seconds=max_seconds) for other in b]
    if as_json:
        print_json({"schema_version": 1, "comparisons": results})
        return
    for result in results:
        print_timings(list(zip((result.a, result.b), result.measurements, strict=True)))
        low, high = result.ci95
        print_rows(
            ("A ÷ B in CPU time", "95 % interval", "A is"),
            [(f"{result.ratio:.3f}", f"{low:.3f} … {high:.3f}", result.verdict)],
        )
