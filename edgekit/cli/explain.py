"""`edgekit explain`: why something is as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.options import AsJson, CustomObjects, Debug, InputShape, ModelArgument, State, TrustModel

__all__ = ["register"]

_HELP = """Explain what pruning can do with a model: which channels go together, why, and which stay.

A channel goes from a network with everything that it meets on its way. For each group of such channels: how many there
are, the share of the MACs that goes with them, and the chain that couples its layers. Then every layer whose channels
stay, with the reason. Nothing is converted or changed.

\b
Example:  edgekit explain --pruning model.onnx

\b
Example:  edgekit explain --pruning digits-cnn --json | jq '.frozen[] | .layer, .reason'

\b
The document of --json:
  macs, params       of the whole model
  prunable_share     the share of the MACs that can go at most (0..1)
  groups             name, channels, macs_share (0..1), members [{layer, constant, axis, role}], because [line]
  frozen             layer, reason
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("explain", help=_HELP, short_help="Show which channels go together, and why.")(_explain)


def _explain(
    *,
    model: ModelArgument,
    pruning: Annotated[
        bool, typer.Option("--pruning", help="Which channels go together, why, and which stay.")
    ] = False,
    input_shape: InputShape = None,
    state: State = None,
    trust_model: TrustModel = False,
    custom_objects: CustomObjects = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_pruning
    from edgekit.core.errors import UsageError
    from edgekit.pipeline.explain import explain_pruning

    if not pruning:
        raise UsageError(
            "there is no word of what to explain",
            blame="the command line",
            remedy=f"Say it: edgekit explain --pruning {model}",
        )
    with progress_display():
        explanation = explain_pruning(
            model,
            input_shapes=options.input_shapes(input_shape),
            states=options.states(state),
            trust=trust_model,
            custom_objects=custom_objects,
        )
    if as_json:
        from edgekit.core.types import to_json

        print_json({"schema_version": 1, **to_json(explanation)})
    else:
        print_pruning(explanation)
