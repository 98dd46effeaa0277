"""`edgekit validate`: is this artifact whole, and does it still answer rightly?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import AsJson, Debug, Threads

__all__ = ["register"]

_HELP = """Check a target's folder: file digests, golden answers on this machine's runtime, and accuracy on DATA.

\b
Example:  edgekit validate build/digits-cnn/intel-cpu --data eval.npz
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
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_validation
    from edgekit.pipeline.validate import validate

    with progress_display():
        validation = validate(artifact, data=data, model=model, metric=metric, max_drop=max_drop, threads=threads or 1)
    if as_json:
        print_json(validation)
    else:
        print_validation(validation)
    raise typer.Exit(validation.exit_code)
