"""`edgekit build`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import options
from edgekit.cli.options import (
    AsJson,
    BoardsFile,
    Color,
    CustomObjects,
    Debug,
    Devices,
    InputShape,
    ModelArgument,
    Normalize,
    Resize,
    State,
    Threads,
    TrustModel,
)

__all__ = ["register"]

_HELP = """Take MODEL to a proven artifact for each target.

\b
Example:  edgekit build digits-cnn --target raspberry-pi-5 --target intel-cpu

\b
Example:  edgekit build model.h5 -t raspberry-pi-4 --data photos/ --normalize 0..1 --max-drop 0.5

\b
Example:  edgekit build model.onnx -t raspberry-pi-5 -d eval.npz --device ssh://pi@kitchen

\b
Example:  edgekit build model.h5 -t raspberry-pi-5 --data photos/ --prune 0.5 --max-drop 5

\b
Example:  edgekit build model.h5 -t raspberry-pi-5 --data photos/ --compress balanced --max-time 20m

\b
Example:  edgekit build yolo.onnx -t intel-cpu --data boxes.npz --metric edgekit.metrics:yolo
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("build", help=_HELP, short_help="Make proven artifacts from a model.")(_build)


def _build(
    *,
    model: ModelArgument,
    targets: Annotated[
        list[str], typer.Option("--target", "-t", metavar="T", help="A target, or a file of one; may be given again.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="D", help="Image folder, .npz, .csv or module:function; split in three."),
    ] = None,
    train_data: Annotated[
        str | None,
        typer.Option("--train-data", metavar="D", help="Calibration, selection and training come from here."),
    ] = None,
    eval_data: Annotated[
        str | None, typer.Option("--eval-data", metavar="D", help="The report judges on this alone.")
    ] = None,
    no_data: Annotated[bool, typer.Option("--no-data", help="Build without data; accuracy stays unknown.")] = False,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Ignore the labels that the data has.")] = False,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="MODULE:FUNCTION",
            help="Your own metric, f(outputs, targets) → float, or a decoder of a detector's outputs, like"
            " edgekit.metrics:yolo. See docs/metrics.md.",
        ),
    ] = None,
    normalize: Normalize = None,
    resize: Resize = None,
    color: Color = None,
    compress: Annotated[
        str | None,
        typer.Option(
            "--compress",
            metavar="light|balanced|extreme",
            help="A recipe that prunes and recovers: a third, a half, three quarters of the MACs go; other flags win.",
        ),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option("--prune", metavar="0.5", help="Remove channels until this share of the MACs has gone."),
    ] = None,
    factorize: Annotated[
        bool,
        typer.Option(
            "--factorize",
            help="Let --prune's share go with ranks: layers become two thin ones that multiply less, and all channels"
            " stay. Keeps more of the accuracy; how much time it saves depends more on the runtime.",
        ),
    ] = False,
    speedup: Annotated[
        float | None,
        typer.Option(
            "--speedup",
            metavar="2.0",
            help="Remove channels until the artifact is so many times as fast as the unpruned one of its precision, by"
            " a clock: the target's own, if it is at hand.",
        ),
    ] = None,
    importance: Annotated[
        str | None,
        typer.Option(
            "--importance",
            metavar="M",
            help="Which channels go: activations (the default), batch-norm, l1, l2, random, taylor.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="uniform|global|capacity", help="How that is spread over the layers."),
    ] = None,
    prune_steps: Annotated[
        int | None, typer.Option("--prune-steps", metavar="N", help="Prune in N steps, each ranked anew. Default: 1.")
    ] = None,
    sparsity: Annotated[
        str | None,
        typer.Option(
            "--sparsity", metavar="0.5|2:4", help="Make this share of the weights zero, or all but 2 of each 4."
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", metavar="global|magnitude|block|random", help="Which weights of a share go."),
    ] = None,
    clusters: Annotated[
        int | None, typer.Option("--clusters", metavar="16", help="How many values the weights of a layer share.")
    ] = None,
    recover: Annotated[
        bool,
        typer.Option("--recover", help="Train on the data until it is as good as it was; see docs/recovery.md."),
    ] = False,
    qat: Annotated[
        bool,
        typer.Option("--qat", help="Train in int8, as the back end computes, after --recover or alone."),
    ] = False,
    qat_bits: Annotated[
        int | None, typer.Option("--qat-bits", metavar="8|4", help="Of the weights in that training.", show_default="8")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Train so many epochs at most. Default: by the data.")
    ] = None,
    max_time: Annotated[str | None, typer.Option("--max-time", metavar="20m", help="Train so long at most.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="auto|fp32|fp16|dynamic|mixed|int8",
            help="Default: auto. mixed is int8 with as many layers in float as the accuracy takes, or a budget like "
            "--max-size has room for; dynamic stores weights in int8 and rounds what they meet as it comes.",
        ),
    ] = None,
    io: Annotated[
        str | None, typer.Option("--io", metavar="float32|int8|uint8", help="The artifact's inputs and outputs.")
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(
            "--ranges", metavar="auto|min-max|percentile|mse|entropy", help="Which range of an activation int8 covers."
        ),
    ] = None,
    rounding: Annotated[
        str | None, typer.Option("--rounding", metavar="auto|nearest|adaptive", help="How int8 weights are rounded.")
    ] = None,
    bias_correction: Annotated[
        bool | None,
        typer.Option(
            "--bias-correction/--no-bias-correction", help="Whether biases make up for what int8 does to the mean."
        ),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option("--max-drop", help="Largest accuracy drop, in points.", show_default="1.0")
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option("--min-speedup", help="Float's time ÷ the artifact's.", show_default="1.0")
    ] = None,
    max_latency: Annotated[str | None, typer.Option("--max-latency", metavar="20ms", help="p90 on the device.")] = None,
    max_size: Annotated[str | None, typer.Option("--max-size", metavar="500kB", help="Bytes of the artifact.")] = None,
    max_memory: Annotated[str | None, typer.Option("--max-memory", metavar="64MB", help="Peak memory.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Every gate must be evaluated, and resolved.")] = False,
    require: Annotated[
        str | None, typer.Option("--require", metavar="measured|emulated", help="The evidence that gates must have.")
    ] = None,
    device: Devices = None,
    boards: BoardsFile = None,
    threads: Threads = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Batch size of the artifact.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Not the target's own.")] = None,
    input_shape: InputShape = None,
    state: State = None,
    trust_model: TrustModel = False,
    custom_objects: CustomObjects = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="edgekit.toml", help="A recipe; flags win over it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Default: build/<model>/.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    from edgekit.cli.display import print_json, progress_display
    from edgekit.cli.tables import print_build
    from edgekit.pipeline.build import build
    from edgekit.report.units import parse_duration_ms, parse_size

    given = options.given
    flags = {
        "model": given(
            input_shapes=options.input_shapes(input_shape),
            states=options.states(state),
            trust=trust_model,
            custom_objects=custom_objects,
        ),
        "data": given(
            data=data, train=train_data, eval=eval_data, none=no_data, metric=metric,
            normalize=normalize, resize=resize, color=color,
        ) | ({"labels": False} if no_labels else {}),
        "shrink": given(
            prune=prune, factorize=factorize, speedup=speedup, importance=importance, schedule=schedule,
            prune_steps=prune_steps, sparsity=sparsity, pattern=pattern, clusters=clusters,
        ),
        "recover": given(
            recover=recover,
            qat=qat,
            qat_bits=qat_bits,
            epochs=epochs,
            max_seconds=parse_duration_ms(max_time) / 1000 if max_time else None,
        ),
        "precision": given(precision=precision, io=io, ranges=ranges, rounding=rounding)
        | ({} if bias_correction is None else {"bias_correction": bias_correction}),
        "gates": given(
            max_drop=max_drop,
            min_speedup=min_speedup,
            max_latency_ms=parse_duration_ms(max_latency) if max_latency else None,
            max_size_bytes=parse_size(max_size) if max_size else None,
            max_memory_bytes=parse_size(max_memory) if max_memory else None,
            strict=strict,
            require=require,
        ),
        "run": given(threads=threads, batch=batch, seed=seed, backend=backend, devices=device, boards=boards),
    }  # fmt: skip
    with progress_display():
        report = build(model, targets, flags=flags, recipe=config, compress=compress, out=out)
    if as_json:
        print_json(report)
    else:
        print_build(report)
    raise typer.Exit(report.exit_code)
