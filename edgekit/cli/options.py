"""Options that several verbs share, so that one flag means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "AsJson", "BoardsFile", "Color", "CustomObjects", "Debug", "Devices", "InputShape", "ModelArgument", "Normalize",
    "Resize", "State", "Threads", "TrustModel", "given", "input_shapes", "states",
]  # fmt: skip

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="On failure, print the traceback and the tools' own logs.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=256, help="Threads of the runtime.", show_default="1")
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="URI",
        help="Where: local, ssh://user@host, adb://serial, qemu://cortex-a76; may be given again.",
        show_default=False,
    ),
]
BoardsFile = Annotated[
    Path | None, typer.Option("--boards", metavar="FILE", help="A TOML file of boards: [boards.NAME] device = URI.")
]
Normalize = Annotated[
    str | None, typer.Option("--normalize", metavar="none|0..1|-1..1|imagenet", help="Scale of image pixels.")
]
Resize = Annotated[
    str | None, typer.Option("--resize", metavar="stretch|crop|letterbox", help="How images reach the input's size.")
]
Color = Annotated[str | None, typer.Option("--color", metavar="rgb|bgr", help="Channel order of images.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", metavar="NAME=1,3,224,224", help="Fix an input whose file leaves sizes open."),
]
TrustModel = Annotated[
    bool, typer.Option("--trust-model", help="Allow code inside the model file (Keras Lambda layers) to run.")
]
CustomObjects = Annotated[
    str | None, typer.Option("--custom-objects", metavar="MODULE:NAME", help="A dictionary of custom Keras layers.")
]
State = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="IN=OUT|none", help="An input that is state, and the output that feeds it back."),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A .keras, .h5, .hdf5, .onnx or .tflite file, a SavedModel folder, or a model of the zoo.",
    ),
]


def input_shapes(texts: list[str] | None) -> dict[str, list[int]] | None:
    """Parse `NAME=1,3,224,224` texts.

    Raises:
        UsageError: a text is not of that form.
    """
    if not texts:
        return None
    shapes: dict[str, list[int]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            shapes[name] = [int(size) for size in sizes.split(",")]
        except ValueError:
            name = ""
        if not name:
            from edgekit.core.errors import UsageError

            raise UsageError(
                f"--input-shape {text!r} is not of the form NAME=1,3,224,224",
                blame="the command line",
                remedy="Give the input's name and its sizes, batch included: --input-shape image=1,3,224,224",
            )
    return shapes


def states(texts: list[str] | None) -> dict[str, str] | str | None:
    """Parse `IN=OUT` texts; a single `none` says that no input is state.

    Raises:
        UsageError: a text is not of that form, or an input is named twice.
    """
    if not texts or texts == ["none"]:
        return texts[0] if texts else None
    pairs: dict[str, str] = {}
    for text in texts:
        source, _, target = text.partition("=")
        if not source or not target or source in pairs:
            from edgekit.core.errors import UsageError

            raise UsageError(
                f"--state {text!r} names {source!r} again"
                if source in pairs
                else f"--state {text!r} is not of the form IN=OUT",
                blame="the command line",
                remedy="Name each input that is state with the output that feeds it at the next step: --state h=h_out",
            )
        pairs[source] = target
    return pairs


def given(**keys: Any) -> dict[str, Any]:
    """The keys whose flags were used; an unused flag is None or False and leaves the recipe's word."""
    return {key: value for key, value in keys.items() if value is not None and value is not False}
