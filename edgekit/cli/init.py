"""`edgekit init`: write the recipe of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.options import Debug, InputShape, ModelArgument, State, input_shapes, states

__all__ = ["register"]

_HELP = """Write edgekit.toml for MODEL: every key of a recipe, with its meaning and default.

\b
Example:  edgekit init digits-cnn && edgekit build digits-cnn --config edgekit.toml -t raspberry-pi-5
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("init", help=_HELP, short_help="Write the recipe of a model.")(_init)


def _init(
    *,
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write it.")] = Path("edgekit.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    compress: Annotated[
        str | None,
        typer.Option("--compress", metavar="light|balanced|extreme", help="With the keys of this recipe filled in."),
    ] = None,
    input_shape: InputShape = None,
    state: State = None,
    debug: Debug = False,
) -> None:
    from edgekit.core.errors import UsageError
    from edgekit.pipeline.init import has_data, recipe_text

    if out.is_dir() or (out.exists() and not force):
        raise UsageError(
            f"{out} is a folder" if out.is_dir() else f"{out} exists already",
            blame="the command line",
            remedy=f"Name the file in it: --out {out}/edgekit.toml"
            if out.is_dir()
            else f"Write elsewhere with --out, or overwrite it with: edgekit init {model} --out {out} --force",
        )
    text = recipe_text(
        model,
        relative_to=out.parent,
        input_shapes=input_shapes(input_shape) or {},
        states=states(state),
        compress=compress,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    data = "" if has_data(text) else " --data FOLDER"
    typer.echo(f"wrote {out}; now: edgekit build {model} --config {out}{data} --target raspberry-pi-5", err=True)
