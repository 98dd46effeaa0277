"""What a Keras file would run when it is opened, found before any loader opens it.

A Keras file is JSON and tensors, but its JSON can name Python code: a Lambda layer holds marshalled byte code, a
module path is imported, an op layer may call any TensorFlow function, `tf.io.write_file` included. tf_keras ignores
safe mode for .h5, so the decision is made here, for every loader.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.core.errors import InvalidInputError
from edgekit.formats.sizes import MAX_BYTES

__all__ = ["scan_keras_file"]

# Layers that hold code, load it from elsewhere, or call whatever method they name.
_CODE_CLASSES = {
    "Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "ClassMethod", "InstanceMethod",
    "InstanceProperty",
}  # fmt: skip
# Layers of old functional models that call a TensorFlow function by its public name, and the names that only compute.
_CALL_CLASSES = {"TFOpLambda", "SlicingOpLambda"}
_PURE_FUNCTIONS = (
    "__operators__.", "math.", "nn.", "linalg.", "image.", "keras.activations.", "keras.backend.", "compat.v1.nn.",
    "compat.v1.transpose", "abs", "add", "cast", "clip_by_value", "concat", "convert_to_tensor", "divide", "exp",
    "expand_dims", "gather", "identity", "maximum", "minimum", "multiply", "ones", "pad", "pow", "reduce_", "reshape",
    "reverse", "round", "shape", "sigmoid", "sign", "slice", "split", "sqrt", "square", "squeeze", "stack",
    "stop_gradient", "strided_slice", "subtract", "tanh", "tile", "transpose", "unstack", "where", "zeros",
)  # fmt: skip
# The parts of Keras that models are made of, by all their addresses.
_KERAS_MODULE = re.compile(
    r"builtins|(tensorflow\.(python\.)?|tf_)?keras(\.(src\.)?(activations|constraints|dtype_policies|engine|initializers"
    r"|layers|legacy|losses|metrics|mixed_precision|models|ops|optimizers|quantizers|random|regularizers)(\..*)?)?"
)


def scan_keras_file(path: Path, custom_names: Collection[str] = ()) -> None:
    """Check that opening the Keras file at `path` (.keras, .h5) runs no code that came with it.

    Args:
        path: the file.
        custom_names: classes that the user brings along, which the file may therefore name.

    Raises:
        InvalidInputError: it holds code, names foreign modules, reaches outside itself, unpacks to more than 2 GiB, or
            has no model in it.
    """
    config = _archive_config(path) if zipfile.is_zipfile(path) else _hdf5_config(path)
    for item in _objects(config):
        _check_object(path, item, set(custom_names))


def _error(path: Path, cause: str, remedy: str = "Get the file from its maker again.") -> InvalidInputError:
    return InvalidInputError(f"{path} {cause}", blame="your model file", remedy=remedy)


def _carries_code(path: Path, what: str) -> InvalidInputError:
    return _error(
        path,
        f"carries code: {what}",
        "Replace it by a built-in layer and save the model again. If you trust whoever made the file, add: "
        "--trust-model",
    )


def _archive_config(path: Path) -> Any:
    """The config of a .keras archive, whose members and weights are harmless."""
    import h5py

    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            config = json.loads(archive.read("config.json"))
            for name in archive.namelist():
                if name.endswith(".h5"):
                    with archive.open(name) as stream, h5py.File(stream, "r") as weights:
                        _check_links(path, weights)
            return config
    except InvalidInputError:
        raise
    except Exception as error:
        raise _error(path, f"is a damaged Keras archive: {error}") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise _error(path, f"would unpack to {total >> 20} MiB; edgekit takes {MAX_BYTES >> 20} MiB at most")
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename:
            raise _error(path, f"holds a member that would be written outside its folder: {member.filename}")
        if name.suffix in (".pkl", ".pickle"):
            raise _carries_code(path, f"the pickle {member.filename}")


def _hdf5_config(path: Path) -> Any:
    """The config of an .h5 file, whose tensors are harmless."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _check_links(path, file)
            text = file.attrs.get("model_config")
            config = None if text is None else json.loads(text)
    except InvalidInputError:
        raise
    except Exception as error:
        raise _error(path, f"is a damaged HDF5 file: {error}") from error
    if config is None:
        raise _error(
            path,
            "holds weights or other data, but no model",
            'Save the whole model, not its weights:\n    model.save("model.keras")',
        )
    return config


def _check_links(path: Path, file: Any) -> None:
    """No tensor lies in another file, and together they are of a size that can be held."""
    import h5py

    total, todo, seen = 0, [file], set()
    while todo:
        group = todo.pop()
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                raise _error(path, f"points to data in another file: {group.name}/{name}")
            item = group[name]
            if item.id in seen:
                continue
            seen.add(item.id)
            if isinstance(item, h5py.Group):
                todo.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise _error(path, f"keeps {item.name} in another file")
                total += item.nbytes
    if total > MAX_BYTES:
        raise _error(path, f"holds {total >> 20} MiB of tensors; edgekit takes {MAX_BYTES >> 20} MiB at most")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in `config` that describes a Python object."""
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _check_object(path: Path, item: dict[str, Any], custom_names: set[str]) -> None:
    kind, config = str(item["class_name"]), item.get("config")
    label = f"the layer {config['name']!r}" if isinstance(config, dict) and "name" in config else "an object"
    short = kind.rsplit(">", 1)[-1]
    if {kind, short, str(config) if kind == "function" else ""} & custom_names:
        return
    if short in _CODE_CLASSES:
        raise _carries_code(path, f"{label} of type {kind}")
    if short in _CALL_CLASSES and isinstance(config, dict):
        function = str(config.get("function"))
        if not function.startswith(_PURE_FUNCTIONS):
            raise _carries_code(path, f"{label} calls the TensorFlow function {function}")
    module = item.get("module")
    if module is not None and not _KERAS_MODULE.fullmatch(str(module)):
        raise _error(
            path,
            f"needs the class {module}.{kind} ({label}), which is not part of Keras",
            f"Bring it along: --custom-objects {module}:{short}",
        )
