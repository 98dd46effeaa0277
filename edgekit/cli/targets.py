"""`edgekit targets`: the boards that edgekit knows."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli.options import AsJson, Debug

__all__ = ["register"]

_HELP = """List the targets, or show one.

\b
Example:  edgekit targets raspberry-pi-5
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("targets", help=_HELP, short_help="List the targets, or show one.")(_targets)


def _targets(
    *,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A target, or a file of one.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json
    from edgekit.cli.tables import print_rows
    from edgekit.pipeline.targets import is_here, list_targets, load_target

    shown = [load_target(name)] if name else [load_target(each) for each in list_targets()]
    if as_json:
        documents = [target.model_dump(mode="json") | {"is_here": is_here(target)} for target in shown]
        print_json({"schema_version": 1, "targets": documents})
    elif name:
        rows = [
            (key, _text(value))
            for key, value in shown[0].model_dump(mode="json", exclude_defaults=True).items()
            if value not in ("", None)
        ]
        print_rows(("", name), rows)
    else:
        print_rows(
            ("target", "back end", "CPU", "this machine", ""),
            [(t.name, t.backend, t.cpu, "yes" if is_here(t) else "", t.description) for t in shown],
        )


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
