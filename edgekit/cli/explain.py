"""`edgekit explain`: why something is as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.options import AsJson, CustomObjects, Debug, InputShape, State, TrustModel

__all__ = ["register"]

_HELP = """Explain which layers of a built network int8 breaks, or with --pruning what pruning can do with a model.

DIR is what a build wrote: its output folder, or a target's folder in it. For each layer of the network as it came, the
worst first: what rounding its weights alone, or what it makes alone, to int8 costs; how far its numbers reach, and the
channels that stand out; and its share of the artifact's bytes and time. Beside the cost stands what is left of it after
what the build did about it. Then what each operator takes on the runtime. It needs what the build left in the store.

With --pruning, MODEL is a model: which of its channels go together, why, and which stay. A channel goes from a network
with everything that it meets on its way. Nothing is converted or changed.

\b
Example:  edgekit explain build/digits-cnn

\b
Example:  edgekit explain build/digits-cnn/raspberry-pi-5 --json | jq '.targets[0].layers[0]'

\b
Example:  edgekit explain --pruning model.onnx

\b
The document of --json:
  targets   target, backend, precision, samples, naive {sqnr_db, agreement, drop}, repaired, runtime, note,
            layers [{layer, op, precision, blame, cost, left, weights, output, whole, weights_range, output_range,
            weights_outliers [{channel, factor}], output_outliers, bytes_share, macs_share, time_share}],
            ops [{op, names, layer, us, share}], total_us

\b
The document of --pruning --json:
  macs, params       of the whole model
  prunable_share     the share of the MACs that can go at most (0..1)
  groups             name, channels, macs_share (0..1), members [{layer, constant, axis, role}], because [line]
  frozen             layer, reason
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("explain", help=_HELP, short_help="Show which layers int8 breaks, or which channels go together.")(
        _explain
    )


def _explain(
    *,
    what: Annotated[str, typer.Argument(metavar="DIR|MODEL", help="A build's folder; with --pruning a model.")],
    pruning: Annotated[
        bool, typer.Option("--pruning", help="Which channels of a model go together, why, and which stay.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Show the worst N layers and slowest operators.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="URI", help="Where the operators are timed: local, ssh://user@host, …")
    ] = "local",
    input_shape: InputShape = None,
    state: State = None,
    trust_model: TrustModel = False,
    custom_objects: CustomObjects = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.core.plain import to_json

    if not pruning:
        from edgekit.cli.blame import print_blame, shortened
        from edgekit.pipeline.blame import explain_build

        with progress_display():
            blame = shortened(explain_build(what, device=device), limit)
        if as_json:
            print_json(blame)
        else:
            print_blame(blame)
        return

    from edgekit.cli.tables import print_pruning
    from edgekit.pipeline.explain import explain_pruning

    with progress_display():
        explanation = explain_pruning(
            what,
            input_shapes=options.input_shapes(input_shape),
            states=options.states(state),
            trust=trust_model,
            custom_objects=custom_objects,
        )
    if as_json:
        print_json({"schema_version": 1, **to_json(explanation)})
    else:
        print_pruning(explanation)
