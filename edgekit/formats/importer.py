"""The import stage: any source format in, a Model out, held against the source framework's own answers every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.digest import digest_file
from edgekit.core.errors import EdgekitError
from edgekit.core.plain import to_json
from edgekit.core.types import Layout, TensorSpec
from edgekit.formats.detection import detect
from edgekit.formats.parity import PARITY_LIMIT, float_parity, step_parity
from edgekit.formats.quantized import Rounding, as_stored, without_rounding
from edgekit.formats.source import Source
from edgekit.ir.model import Model, set_layout
from edgekit.ir.quantization import QuantParams
from edgekit.ir.run import Arrays, probe_specs
from edgekit.ir.state import Declared

__all__ = ["PARITY_LIMIT", "import_model"]

# Sizes of the random samples: where one saturates a softmax, and so tells nothing, another does not.
_SCALES = (1.0, 0.3, 0.1, 0.03)
# Values on a grid differ by chance: a mean over few of them says little.
_ROUNDED_SAMPLES = 32
_FEW_CHANNELS = {1, 3, 4}
_QUANTIZED = (
    "{} is quantized already: its own answers are what accuracy is held against, and int8 is made from its own scales;"
    " fp16 and fp32 come from its rounded weights"
)


def import_model(  # noqa: PLR0917 - see trust_model
    source: str,
    out: str,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    trust_model: bool = False,  # noqa: FBT001, FBT002 - a child's entry point: called by name from JSON
    custom_objects: str | None = None,
    seed: int = 0,
    check: Callable[[Path], None] | None = None,
    states: Declared | None = None,
) -> dict[str, Any]:
    """Import the model file `source` and write `out`/model.onnx. Runs in a child process: the file may be hostile.

    Of a quantized source that is the float network that it stands for, and `out`/reference.onnx rounds as the source
    does: its answers count as the source's.

    Args:
        source: path of a .keras, .h5, .hdf5, .onnx or .tflite file, or of a SavedModel folder.
        out: an existing folder.
        input_shapes: sizes for the axes that the model leaves open: name → all sizes, batch included.
        trust_model: run code that the file carries.
        custom_objects: "module:NAME" with the classes of custom Keras layers.
        seed: seed of the inputs on which the source and the Model are compared.
        check: called with the path of the Model before that, to raise what speaks against it.
        states: the model's recurrent state, as it is declared.

    Returns:
        {"format", "quantized", "parity", "params", "cut", "states", "beside", "warnings"}. "quantized" is "int8" or
        None; "parity" has the "runtime", the "samples" and "max_relative" or, in steps of the output's scale,
        "rms_steps" and "max_steps"; "cut" names what was cut off the graph (see `edgekit.passes.normalise.nms.Cut`);
        "beside" has the digest of each file that holds weights beside the model file, by its name relative to it. A
        quantized source adds "reference", the digest of reference.onnx, and "steps", the scale of each output that it
        rounds.

    Raises:
        InvalidInputError: the file, or an argument about it, is not valid.
        UnsupportedOpError: the network has an op that a Model can't hold.
        BrokenPromiseError: the Model does not answer as the source does.
    """
    read = _read(Path(source), input_shapes or {}, custom_objects, trust_model=trust_model)
    try:
        model, rounding = _to_model(read, seed, states or {})
    except Exception as error:
        if not isinstance(error, EdgekitError):
            # A network that its own framework can't run either is the file's fault, and this says so.
            read.answer(_probes(read.inputs, {}, seed))
        raise
    written = Path(out) / "model.onnx"
    model.save(written)
    if check:
        check(written)
    feeds = _probes(read.inputs, rounding.ends if rounding else {}, seed)
    expected = read.answer(feeds)
    warnings = [*read.warnings, *_doubts(expected)]
    if rounding is None:
        parity = float_parity(model, feeds, expected, read.runtime)
    else:
        parity = step_parity(rounding.network, rounding.ends, feeds, expected, read.runtime)
        warnings.append(_QUANTIZED.format(Path(source).name))
    return {
        "format": read.format,
        **(rounding.write(Path(out)) if rounding else {"quantized": None}),
        "parity": parity,
        "params": _parameters(model),
        "cut": [to_json(cut) for cut in read.cuts],
        "states": [] if states == "none" else list((states or {}).items()),
        "beside": {name: digest_file(Path(source).parent / name) for name in read.beside},
        "warnings": warnings,
    }


def _read(
    path: Path, input_shapes: Mapping[str, Sequence[int]], custom_objects: str | None, *, trust_model: bool
) -> Source:
    file_format = detect(path)
    if file_format == "onnx":
        from edgekit.formats.onnx import read_onnx

        return read_onnx(path, input_shapes)
    if file_format == "tflite":
        from edgekit.formats.tflite.reader import read_tflite

        return read_tflite(path, input_shapes)
    if file_format == "savedmodel":
        from edgekit.formats.savedmodel.reader import read_savedmodel

        return read_savedmodel(path, input_shapes)
    from edgekit.formats.keras.reader import read_keras

    return read_keras(path, file_format, input_shapes, trust_model=trust_model, custom_objects=custom_objects)


def _probes(specs: Sequence[TensorSpec], ends: Mapping[str, QuantParams], seed: int) -> Arrays:
    """A few samples of different sizes, in whole batches where the source fixes its batch.

    An input that the network rounds gets all that it can tell apart.
    """
    batch = min((spec.shape[0] or 1 for spec in specs if spec.shape), default=1)
    feeds = probe_specs(specs, seed, batch * max(1, (_ROUNDED_SAMPLES if ends else len(_SCALES)) // batch))
    for index, spec in enumerate(specs):
        value, params = feeds[spec.name], ends.get(spec.name)
        if params:
            integers = np.asarray(np.random.default_rng([seed, index]).integers(-128, 127, value.shape, endpoint=True))
            feeds[spec.name] = as_stored(integers, params, spec.dtype)
        elif value.dtype.kind == "f" and value.ndim:
            feeds[spec.name] = _scaled(value)
    return feeds


def _scaled(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scales = np.resize(_SCALES, len(value)).astype(value.dtype)
    scaled: np.ndarray[Any, Any] = value * scales.reshape(-1, *[1] * (value.ndim - 1))
    return scaled


def _to_model(read: Source, seed: int, states: Declared) -> tuple[Model, Rounding | None]:
    """The float network, layers and layouts called as in the source, and the one that rounds, if the source does."""
    from edgekit.formats.layer_names import name_after_layers
    from edgekit.passes.normalise import normalise

    model, rounding = without_rounding(normalise(read.proto, seed, states), seed)
    if read.layers:
        name_after_layers(model.proto, read.layers)
    for values, specs in ((model.graph.inputs, model.inputs), (model.graph.outputs, model.outputs)):
        for value, spec in zip(values, specs, strict=True):
            set_layout(value, _layout(spec, read.layouts.get(spec.name)))
    return model, rounding


def _layout(spec: TensorSpec, known: Layout | None) -> Layout:
    """What the axes mean: as the source says, or by the number of channels that images have."""
    if len(spec.shape) == 2:
        return Layout.NC
    if len(spec.shape) != 4:
        return Layout.ND
    if known:
        return known
    if spec.shape[1] in _FEW_CHANNELS:
        return Layout.NCHW
    return Layout.NHWC if spec.shape[3] in _FEW_CHANNELS else Layout.ND


def _parameters(model: Model) -> int:
    """Number of floating-point weights."""
    weights = (value.const_value for value in model.graph.initializers.values())
    return sum(weight.size for weight in weights if weight is not None and weight.dtype.is_floating_point())


def _doubts(expected: Arrays) -> list[str]:
    return [
        f"the output {name!r} is NaN or infinite for ordinary random inputs"
        for name, value in expected.items()
        if value.dtype.kind == "f" and not np.isfinite(value).all()
    ]
