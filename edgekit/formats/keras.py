"""Keras files (.keras, .h5): scanned, opened by Keras 3 or else by tf_keras, and traced into ONNX."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, InvalidInputError
from edgekit.core.types import Layout, TensorSpec
from edgekit.formats.scan import scan_keras_file
from edgekit.formats.source import Source, check_weights
from edgekit.formats.tracing import trace
from edgekit.ir.run import Arrays

__all__ = ["read_keras"]

Shape = tuple[int | None, ...]


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
    check_weights({getattr(w, "path", w.name): w.numpy() for w in model.weights})
    inputs = _inputs(model, input_shapes)
    names = _output_names(model, taken=set(inputs))
    proto, layers = trace(library, model, inputs, names)

    def answer(feeds: Arrays) -> Arrays:
        arguments = [feeds[name] for name in inputs]
        return dict(zip(names, _flat(model(_packed(arguments), training=False)), strict=True))

    return Source(
        file_format,
        proto,
        f"{library.__name__} {library.__version__}",
        tuple(TensorSpec(name, shape, dtype) for name, (shape, dtype) in inputs.items()),
        answer,
        layouts=dict.fromkeys((*inputs, *names), Layout.NHWC) if _channels_last(model) else {},
        layers=layers,
    )


def _custom_classes(spec: str | None) -> dict[str, Any]:
    """The classes that "module:NAME" names, by name."""
    if spec is None:
        return {}
    module, _, name = spec.partition(":")
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


def _inputs(model: Any, input_shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Name → (shape with an open batch, dtype) of each input, all sizes filled in."""
    if not getattr(model, "inputs", None):
        raise InvalidInputError(
            f"the model {model.name!r} was saved before it knew its input shape",
            blame="your model file",
            remedy="Call it once before saving:\n    model(tf.zeros((1, 224, 224, 3))); model.save('model.keras')",
        )
    named = dict(zip(_unique([tensor.name.split(":")[0] for tensor in model.inputs]), model.inputs, strict=True))
    unknown = sorted(set(input_shapes) - set(named))
    if unknown:
        raise InvalidInputError(
            f"the model has no input called {unknown[0]!r}; its inputs are {', '.join(named)}",
            blame="your --input-shape",
            remedy="Use one of these names.",
        )
    return {name: _spec(name, tensor, input_shapes.get(name)) for name, tensor in named.items()}


def _spec(name: str, tensor: Any, given: Sequence[int] | None) -> tuple[Shape, str]:
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    own = tuple(tensor.shape)
    if given is not None and (
        len(given) != len(own) or any(o is not None and o != g for o, g in zip(own[1:], given[1:], strict=True))
    ):
        raise InvalidInputError(
            f"--input-shape {name}={','.join(map(str, given))} contradicts the model's own {_written(own)}",
            blame="your --input-shape",
            remedy=f"Only the sizes marked ? are open: {_written(own)}",
        )
    shape = own if given is None else tuple(given)
    if None in shape[1:]:
        raise InvalidInputError(
            f"the model leaves the size of its input {name!r} open: {_written(own)}",
            blame="your model file",
            remedy=f"Fix it, with your own sizes: --input-shape {name}=1,{','.join(str(s or 224) for s in own[1:])}",
        )
    return (own[0], *shape[1:]), dtype


def _written(shape: Shape) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)


def _output_names(model: Any, taken: set[str]) -> list[str]:
    """An output is called like the layer that gives it."""
    # Keras 3 gives a Sequential no output_names.
    layers = getattr(model, "output_names", None) or [model.layers[-1].name]
    return _unique([name.split("/")[0] for name in layers], taken)


def _unique(names: list[str], taken: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """The names, with _1, _2, … behind those that came before or are `taken`."""
    found: list[str] = []
    for name in names:
        candidates = [name, *(f"{name}_{i}" for i in range(1, len(names) + len(taken) + 1))]
        found.append(next(c for c in candidates if c not in taken and c not in found))
    return found


def _packed(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _flat(outputs: Any) -> list[Any]:
    import tensorflow as tf

    return [tensor.numpy() for tensor in tf.nest.flatten(outputs)]


def _channels_last(model: Any) -> bool:
    """Whether no layer says that its channels come first."""
    return all(getattr(layer, "data_format", "channels_last") != "channels_first" for layer in model.layers)
