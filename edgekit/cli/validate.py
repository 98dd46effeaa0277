"""`edgekit validate`: is this artifact whole, and does it still answer rightly?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import AsJson, BoardsFile, Debug, Devices, Threads

__all__ = ["register"]

_HELP = """Check a target's folder, here or on devices: file digests, golden answers, precisions, and accuracy on DATA.

What a device answers is judged as it is, and held against this machine's answers too.

\b
Example:  edgekit validate build/digits-cnn/intel-cpu --data eval.npz

\b
Example:  edgekit validate build/digits-cnn/raspberry-pi-5 --data eval.npz --device ssh://pi@kitchen
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("validate", help=_HELP, short_help="Check an artifact: digests, answers, accuracy.")(_validate)


def _validate(
    *,
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A target's folder, or its artifact's file.")],
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="D", help="All of it judges: preprocessed as the build did.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="What it was built from; the drop is then gated.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="MODULE:FUNCTION", help="The metric of the build, if it had one.")
    ] = None,
    max_drop: Annotated[float | None, typer.Option("--max-drop", help="Against --model.", show_default="1.0")] = None,
    device: Devices = None,
    boards: BoardsFile = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.boards import document, is_fleet, on_boards
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_failures, print_validation, print_validations
    from edgekit.devices.fleet import fleet_exit_code
    from edgekit.pipeline.validate import examining
    from edgekit.report.gates import combine

    examined = examining(artifact, data=data, model=model, metric=metric, max_drop=max_drop, threads=threads or 1)
    with progress_display(), examined as examination:
        outcomes = on_boards(device, boards, examination.on)
    results = [outcome.result for outcome in outcomes if outcome.result]
    code = combine((fleet_exit_code(outcomes), *(result.exit_code for result in results)))
    if as_json:
        print_json(document(outcomes, lambda result: result, code))
    elif is_fleet(outcomes):
        print_validations([(outcome.board.name, outcome.result) for outcome in outcomes if outcome.result])
        print_failures(outcomes)
    else:
        print_validation(results[0])
    raise typer.Exit(code)
