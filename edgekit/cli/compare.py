"""`edgekit compare`: two artifacts, one verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit.cli.options import AsJson, BoardsFile, Debug, Devices, Threads

__all__ = ["register"]

_HELP = """Time A against each B, and say whether the difference is real: A is faster, slower, or within 2 % the same.

Fresh processes, which interleave the two, follow one another until the ratio is known to 0.75 %, or time is up.

\b
Example:  edgekit compare build/a/intel-cpu build/b/intel-cpu

\b
Example:  edgekit compare new.tflite old.tflite --device ssh://pi@kitchen
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare", help=_HELP, short_help="Time artifacts against each other.")(_compare)


def _compare(
    *,
    a: Annotated[Path, typer.Argument(metavar="A", help="A target's folder, or a .tflite, .xml or .onnx.")],
    b: Annotated[list[Path], typer.Argument(metavar="B …", help="What to compare it with.")],
    device: Devices = None,
    boards: BoardsFile = None,
    threads: Threads = None,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=0.1, help="Begin no round that ends later; at least four.")
    ] = 60.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.boards import document, on_boards
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_comparisons, print_failures
    from edgekit.devices.fleet import fleet_exit_code
    from edgekit.pipeline.compare import Comparison, compare

    def work(there: Any) -> list[Comparison]:
        return [compare(a, other, device=there, threads=threads or 1, max_seconds=max_seconds) for other in b]

    with progress_display():
        outcomes = on_boards(device, boards, work)
    code = fleet_exit_code(outcomes)
    if as_json:
        print_json(document(outcomes, lambda results: {"schema_version": 1, "comparisons": results}, code))
    else:
        print_comparisons([(outcome.board.name, each) for outcome in outcomes for each in outcome.result or ()])
        print_failures(outcomes)
    raise typer.Exit(code)
