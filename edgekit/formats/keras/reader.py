"""Keras files (.keras, .h5): scanned, opened by Keras 3 or else by tf_keras, and traced into ONNX."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.formats.keras.scan import scan_keras_file
from edgekit.formats.keras.tracing import trace
from edgekit.formats.layer_names import unique_names
from edgekit.formats.sizes import fill_sizes
from edgekit.formats.source import Source, by_batch, check_weights, smallest_probe, undeclared_state
from edgekit.ir.run import Arrays

__all__ = ["read_keras"]


def read_keras(
    path: Path,
    file_format: str,
    input_shapes: Mapping[str, Sequence[int]],
    *,
    trust_model: bool = False,
    custom_objects: str | None = None,
) -> Source:
    """Open the Keras model at `path` and trace it.

    Args:
        path: the file.
        file_format: "keras" or "h5".
        input_shapes: sizes for the axes that the model leaves open, by input name, batch included.
        trust_model: run code that the file carries.
        custom_objects: "module:NAME"; NAME is a dict from names to classes, or one class.

    Raises:
        InvalidInputError: the file carries code, is damaged, needs classes that aren't there, leaves a size open, or
            its weights are not numbers.
        UnsupportedOpError: an op has no ONNX form.
    """
    classes = _custom_classes(custom_objects)
    if not trust_model:
        scan_keras_file(path, classes)
    library, model = _load(path, classes, trust_model=trust_model)
    _refuse_state(path, model)
    check_weights({getattr(w, "path", w.name): w.numpy() for w in model.weights})
    inputs = _inputs(model, input_shapes)
    outputs = _output_names(model, taken={spec.name for spec in inputs})
    answer = functools.partial(_answer, path, model, inputs, outputs)
    # What Keras itself can't run is the file's fault; what goes wrong after that is ours.
    answer(smallest_probe(inputs))
    proto, layers = trace(library, model, inputs, outputs)
    return Source(
        file_format,
        proto,
        f"{library.__name__} {library.__version__}",
        inputs,
        answer,
        layouts=dict.fromkeys((*(spec.name for spec in inputs), *outputs), _image_layout(model)),
        layers=layers,
    )


def _answer(path: Path, model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[str], feeds: Arrays) -> Arrays:
    import tensorflow as tf

    def call(batch: Arrays) -> Arrays:
        arguments = [batch[spec.name] for spec in inputs]
        answers = model(arguments[0] if len(arguments) == 1 else arguments, training=False)
        return dict(zip(outputs, [tensor.numpy() for tensor in tf.nest.flatten(answers)], strict=True))

    try:
        return by_batch(inputs, feeds, call)
    except Exception as error:
        raise InvalidInputError(
            f"Keras itself can't run {path}: {' '.join(str(error).split())[:300]}",
            blame="your model file",
            remedy="Call the model where it was made, mend it, and save it again.",
        ) from error


def _custom_classes(spec: str | None) -> dict[str, Any]:
    """The classes that "module:NAME" names, by name; the current folder is searched last."""
    if spec is None:
        return {}
    module, _, name = spec.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        value = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise InvalidInputError(
            f"--custom-objects {spec} can't be imported: {type(error).__name__}: {error}",
            blame="your --custom-objects",
            remedy="Name an importable module and a class or dict in it: --custom-objects my_layers:CUSTOM_OBJECTS",
        ) from error
    return dict(value) if isinstance(value, Mapping) else {value.__name__: value}


def _load(path: Path, classes: dict[str, Any], *, trust_model: bool) -> tuple[Any, Any]:
    """The library that opens the file, and the model: Keras 3, or tf_keras for what Keras 3 refuses."""
    import keras

    try:
        return keras, keras.models.load_model(path, classes, compile=False, safe_mode=not trust_model)
    except Exception as first:  # noqa: BLE001 - whatever Keras 3 stumbles over, tf_keras gets its turn
        import tf_keras

        try:
            return tf_keras, tf_keras.models.load_model(path, classes, compile=False, safe_mode=not trust_model)
        except Exception as second:
            raise _load_error(path, first, second) from second


def _load_error(path: Path, first: Exception, second: Exception) -> EdgekitError:
    texts = [" ".join(str(error).split()) for error in (first, second)]
    unknown = any("Unknown layer" in text or "Could not locate" in text for text in texts)
    return InvalidInputError(
        f"{path} can't be opened: Keras 3 says {texts[0][:250]!r}, tf_keras says {texts[1][:250]!r}",
        blame="your model file",
        remedy="Bring the missing class along: --custom-objects your_module:YourLayer"
        if unknown
        else 'Save it again in the current format:\n    model.save("model.keras")',
    )


def _refuse_state(path: Path, model: Any) -> None:
    # The generators that Keras 3 gives Dropout are stateful too, but not asked at inference.
    layers = (layer for layer in model._flatten_layers() if getattr(layer, "stateful", False))  # noqa: SLF001
    layer = next((layer for layer in layers if layer is not model), None)
    if layer is not None:
        kind = type(layer).__name__
        raise undeclared_state(
            f"{path} keeps state between calls: the layer {layer.name!r} is a {kind} with stateful=True"
        )


def _inputs(model: Any, input_shapes: Mapping[str, Sequence[int]]) -> tuple[TensorSpec, ...]:
    """The inputs with all sizes but the batch filled in."""
    if not getattr(model, "inputs", None):
        raise InvalidInputError(
            f"the model {model.name!r} was saved before it knew its input shape",
            blame="your model file",
            remedy="Call it once before saving:\n    model(tf.zeros((1, 224, 224, 3))); model.save('model.keras')",
        )
    named = dict(zip(unique_names([tensor.name.split(":")[0] for tensor in model.inputs]), model.inputs, strict=True))
    shapes = fill_sizes({name: tuple(tensor.shape) for name, tensor in named.items()}, input_shapes)
    dtypes = {name: getattr(tensor.dtype, "name", tensor.dtype) for name, tensor in named.items()}
    return tuple(TensorSpec(name, shape, dtypes[name]) for name, shape in shapes.items())


def _output_names(model: Any, taken: set[str]) -> list[str]:
    """An output is called like the layer that gives it."""
    # Keras 3 gives a Sequential no output_names.
    layers = getattr(model, "output_names", None) or [model.layers[-1].name]
    return unique_names([name.split("/")[0] for name in layers], taken)


def _image_layout(model: Any) -> Layout:
    """Channels last, as Keras has them, unless a layer says otherwise."""
    first = any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers)
    return Layout.NCHW if first else Layout.NHWC
