"""`edgekit inspect`: what is in a model, and what a target takes of it."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.options import AsJson, Debug, InputShape, ModelArgument

__all__ = ["register"]

_HELP = """Show a model's layers with shapes, parameters and MACs, and what each target can't take.

\b
Example:  edgekit inspect model.onnx --target raspberry-pi-5

\b
Example:  edgekit inspect path/to/saved_model --target intel-cpu
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("inspect", help=_HELP, short_help="Show a model's layers and what targets take.")(_inspect)


def _inspect(
    *,
    model: ModelArgument,
    targets: Annotated[
        list[str] | None, typer.Option("--target", "-t", metavar="T", help="May be given again.")
    ] = None,
    input_shape: InputShape = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_inspection
    from edgekit.core.errors import UnsupportedOpError
    from edgekit.pipeline.inspect import inspect

    with progress_display():
        inspection = inspect(model, targets or [], input_shapes=options.input_shapes(input_shape) or {})
    if as_json:
        print_json({"schema_version": 1, **inspection.to_json()})
    else:
        print_inspection(inspection)
    raise typer.Exit(UnsupportedOpError.exit_code if inspection.unsupported else 0)
