"""Files and folders of other tools that hold no network, or none that can be read without running code: what to do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgekit.core.errors import InvalidInputError

__all__ = ["folder_error", "graph_error", "pickle_error", "refuse_torch_archive", "safetensors_error"]

_TORCH_EXPORT = (
    "Export it to ONNX where it was trained:\n"
    '    torch.onnx.export(model.eval(), (torch.zeros(1, 3, 224, 224),), "model.onnx", dynamo=True)\n'
    "or, where that fails, with the older exporter:\n"
    '    torch.onnx.export(model.eval(), (torch.zeros(1, 3, 224, 224),), "model.onnx", dynamo=False, opset_version=18)'
)
_PROGRAM_EXPORT = (
    "Export it to ONNX, with the PyTorch that made it:\n"
    '    torch.onnx.export(torch.export.load("{path}"), (), "model.onnx", dynamo=True)'
)
_SCRIPT_EXPORT = (
    "Export it to ONNX, with a PyTorch that opens it:\n"
    '    torch.onnx.export(torch.jit.load("{path}").eval(), (torch.zeros(1, 3, 224, 224),), "model.onnx", '
    "dynamo=False, opset_version=18)"
)
_HUB_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "tf_model.h5", "flax_model.msgpack")


def pickle_error(path: Path) -> InvalidInputError:
    """The error for a Python pickle."""
    torch = path.suffix.lower() in (".bin", ".ckpt", ".pt", ".pt2", ".pth")
    return _error(
        f"{path} is a Python pickle{' from PyTorch' if torch else ''}: opening one runs the code in it, so edgekit "
        "never does",
        _TORCH_EXPORT,
    )


def refuse_torch_archive(path: Path, members: Collection[str]) -> None:
    """Raise the error for whichever of PyTorch's archives has these members, if one has."""
    names = {name.partition("/")[2] for name in members} | set(members)
    if any(name.startswith("code/") for name in names) and "constants.pkl" in names:
        raise _error(
            f"{path} is a TorchScript archive: a program with pickles in it, which edgekit does not run",
            _SCRIPT_EXPORT.format(path=path),
        )
    if "archive_format" in names or "serialized_exported_program.json" in names:
        raise _error(
            f"{path} is an exported program of PyTorch (torch.export), which edgekit does not read",
            _PROGRAM_EXPORT.format(path=path),
        )
    if any(name.endswith("data.pkl") for name in members):
        raise pickle_error(path)


def safetensors_error(path: Path) -> InvalidInputError:
    """The error for a file of named tensors."""
    return _error(
        f"{path} is a safetensors file: it holds weights, and no network",
        f"Build the network where it is defined, load the weights into it, and export it. {_TORCH_EXPORT}",
    )


def graph_error(path: Path) -> InvalidInputError:
    """The error for a TensorFlow graph that stands alone."""
    if path.name.startswith("saved_model."):
        if path.suffix == ".pb":
            return _error(
                f"{path} is the graph of a SavedModel, without its variables", f"Name the folder: {path.parent}"
            )
        return _error(f"{path} is a SavedModel in text form", "Save it again, in the binary form.")
    return _error(
        f"{path} looks like a frozen TensorFlow graph, which does not say what its inputs and outputs are",
        "Name them, and convert it to ONNX:\n"
        f"    python -m tf2onnx.convert --graphdef {path} --inputs INPUT:0 --outputs OUTPUT:0 --opset 18 "
        "--output model.onnx",
    )


def folder_error(path: Path) -> InvalidInputError:
    """The error for a folder that is no SavedModel: what it seems to be."""
    if (path / "saved_model.pbtxt").is_file():
        return graph_error(path / "saved_model.pbtxt")
    if (path / "variables").is_dir() or any(path.glob("*.index")) or any(path.glob("variables.*")):
        return _error(
            f"{path} holds the variables of a TensorFlow model, and no network (saved_model.pb is not there)",
            'Save the whole model:\n    model.export("model")',
        )
    networks = sorted([*path.glob("*.onnx"), *path.glob("onnx/*.onnx")])
    if networks:
        return _error(f"{path} is a folder with an ONNX model in it", f"Name the file: {networks[0]}")
    if (path / "config.json").is_file() and any(any(path.glob(pattern)) for pattern in _HUB_WEIGHTS):
        return _error(
            f"{path} is a model folder of Hugging Face: weights and settings, and the network only as Python code",
            f"Load it there, and export it. {_TORCH_EXPORT}",
        )
    return _error(f"{path} is a folder, not a model file", "Name the model file in it.")


def _error(cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(cause, blame="your model file", remedy=remedy)
