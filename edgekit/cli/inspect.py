"""`edgekit inspect`: what is in a model, and what a target takes of it."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.options import AsJson, CustomObjects, Debug, InputShape, ModelArgument, State, TrustModel

__all__ = ["register"]

_HELP = """Show a model's layers with shapes, parameters and MACs, how it fuses, and what each target can't take.

Nothing is converted. The layers are those of the model as imported; targets are asked about it as it is fused, which
is what a build compiles. Ends with 3 when some target can't take it, naming layer, operator and remedy.

\b
Example:  edgekit inspect model.onnx --target raspberry-pi-5 --target intel-cpu

\b
Example:  edgekit inspect path/to/saved_model --target intel-cpu

\b
Example:  edgekit inspect model.onnx -t intel-cpu --json | jq '.targets[].unsupported[] | .layer, .op, .remedy'

\b
The document of --json:
  inputs, outputs    name, shape (null: the batch), dtype, layout
  layers             name, op, shape, params, macs, macs_share (0..1), live_bytes, unsupported_by
  params, macs, weight_bytes, peak_bytes, peak_layer, ops {op: layers}
  fusion             nodes_before, nodes_after, peak_bytes, rules {rule: how often it fired}
  targets            target, unsupported [{layer, op, remedy}], memory_bytes (null: unknown)
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
    state: State = None,
    trust_model: TrustModel = False,
    custom_objects: CustomObjects = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_inspection
    from edgekit.core.errors import UnsupportedOpError
    from edgekit.pipeline.inspect import inspect

    with progress_display():
        inspection = inspect(
            model,
            targets or [],
            input_shapes=options.input_shapes(input_shape),
            states=options.states(state),
            trust=trust_model,
            custom_objects=custom_objects,
        )
    if as_json:
        print_json({"schema_version": 1, **inspection.to_json()})
    else:
        print_inspection(inspection)
    raise typer.Exit(UnsupportedOpError.exit_code if inspection.unsupported else 0)
