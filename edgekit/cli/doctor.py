"""`edgekit doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.options import AsJson, Debug

__all__ = ["register"]

_HELP = """Check this machine: packages, runtimes, the store, memory and disk.

\b
Example:  edgekit doctor --target intel-cpu
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor", help=_HELP, short_help="Check this machine.")(_doctor)


def _doctor(
    *,
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="T", help="Only what this target needs.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json
    from edgekit.cli.tables import print_rows
    from edgekit.core.errors import MissingToolError
    from edgekit.pipeline.doctor import examine

    rows = examine(target)
    healthy = all(row.state == "ok" for row in rows)
    if as_json:
        print_json({"schema_version": 1, "healthy": healthy, "checks": rows})
    else:
        print_rows(("", "state", "found", "what to do"), [(r.name, r.state, r.detail, r.remedy) for r in rows])
    raise typer.Exit(0 if healthy else MissingToolError.exit_code)
