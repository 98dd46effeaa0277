"""SavedModel folders: scanned, restored without their object graph, and converted to ONNX; TensorFlow answers.

The objects that a SavedModel describes (optimizers of a Keras that is gone, trackers, losses) are nobody's business
here: the graph behind a signature and the variables that it reads are all there is of the network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import InvalidInputError, UnsupportedOpError
from edgekit.core.types import Layout, TensorSpec
from edgekit.formats.conversion import convert_graph
from edgekit.formats.graph_names import strip_names
from edgekit.formats.layer_names import unique_names
from edgekit.formats.savedmodel.session import freeze, network_of, open_session, weights
from edgekit.formats.sizes import Shape, fill_sizes, write_sizes
from edgekit.formats.source import Source, by_batch, check_weights, smallest_probe
from edgekit.ir.run import Arrays

__all__ = ["read_savedmodel"]

_DEFAULT = "serving_default"
_RE_EXPORT = "Save it again with the tool that made it."


def read_savedmodel(path: Path, input_shapes: Mapping[str, Sequence[int]]) -> Source:
    """Read the SavedModel in the folder `path`, by its signature "serving_default" or its only one.

    Args:
        path: the folder.
        input_shapes: sizes for the axes that the model leaves open, by input name, batch included.

    Raises:
        InvalidInputError: the folder is damaged or reaches outside itself, its graph does more than compute, it has no
            clear signature, leaves a size open, or its weights are not numbers.
        UnsupportedOpError: an op has no ONNX form, or an input is text.
    """
    import tensorflow as tf

    meta_graph = _meta_graph(path)
    signature = _signature(path, meta_graph)
    inputs, outputs = _ends(signature)
    specs = _specs(path, signature, inputs, input_shapes)
    network = network_of(path, meta_graph.graph_def, _inverted(inputs), specs, list(outputs.values()))
    session = open_session(path, meta_graph, network)
    check_weights(weights(session))
    run = functools.partial(_answer, session, inputs, outputs)
    answer = functools.partial(_checked_answer, path, specs, run)
    # What TensorFlow itself can't run is the model's fault; what goes wrong after that is ours.
    answer(smallest_probe(specs))
    frozen = freeze(session, list(inputs.values()), list(outputs.values()))
    layers = strip_names(frozen, keep=[tensor.split(":")[0] for tensor in (*inputs.values(), *outputs.values())])
    proto = convert_graph(frozen, _inverted(inputs), _inverted(outputs))
    write_sizes(proto.graph, {spec.name: spec.shape for spec in specs})
    return Source(
        "savedmodel",
        proto,
        f"tensorflow {tf.__version__}",
        specs,
        answer,
        layouts=dict.fromkeys((*inputs, *outputs), Layout.NHWC),
        layers=layers,
    )


def _error(cause: str, remedy: str = _RE_EXPORT) -> InvalidInputError:
    return InvalidInputError(cause, blame="your model", remedy=remedy)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _meta_graph(path: Path) -> Any:
    """The graph for serving, parsed and not loaded."""
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:
        raise _error(f"{path} is a damaged SavedModel: saved_model.pb can't be parsed ({_line(error)})") from error
    graphs = list(message.meta_graphs)
    serving = [graph for graph in graphs if "serve" in graph.meta_info_def.tags] or graphs
    if not serving:
        raise _error(f"{path} is a damaged SavedModel: there is no graph in it")
    return serving[0]


def _signature(path: Path, meta_graph: Any) -> Any:
    """The signature that the network is read by."""
    known = {name: entry for name, entry in meta_graph.signature_def.items() if not name.startswith("__")}
    if _DEFAULT in known:
        return known[_DEFAULT]
    if len(known) != 1:
        names = ", ".join(sorted(known)) or "none"
        raise _error(
            f"{path} has no signature {_DEFAULT!r}, and not just one other: {names}",
            'Say which one is the network: tf.saved_model.save(model, "model", signatures=model.call_it)',
        )
    return next(iter(known.values()))


def _ends(signature: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Tensors of inputs and outputs by the signature's names for them, in the order of these."""
    inputs = sorted(signature.inputs)
    # One tensor may be two outputs; it is given once.
    outputs = sorted({entry.name: key for key, entry in sorted(signature.outputs.items(), reverse=True)}.values())
    names = unique_names([*inputs, *outputs])
    return (
        {name: signature.inputs[key].name for name, key in zip(names, inputs, strict=False)},
        {name: signature.outputs[key].name for name, key in zip(names[len(inputs) :], outputs, strict=True)},
    )


def _specs(
    path: Path, signature: Any, inputs: Mapping[str, str], input_shapes: Mapping[str, Sequence[int]]
) -> tuple[TensorSpec, ...]:
    import tensorflow as tf

    entries = dict(zip(inputs, (signature.inputs[key] for key in sorted(signature.inputs)), strict=True))
    kinds = {name: tf.dtypes.as_dtype(entry.dtype) for name, entry in entries.items()}
    for name, kind in kinds.items():
        if not (kind.is_floating or kind.is_integer or kind.is_bool):
            raise UnsupportedOpError(
                f"{path}: its input {name!r} is of type {kind.name}, and not of numbers",
                blame="your model",
                remedy="Export a signature that takes the tensors which the network itself works on.",
            )
    shapes = fill_sizes({name: _shape(entry.tensor_shape) for name, entry in entries.items()}, input_shapes)
    return tuple(TensorSpec(name, shape, kinds[name].as_numpy_dtype.__name__) for name, shape in shapes.items())


def _shape(shape: Any) -> Shape | None:
    return None if shape.unknown_rank else tuple(size.size if size.size >= 0 else None for size in shape.dim)


def _answer(session: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], feeds: Arrays) -> Arrays:
    values = session.run(list(outputs.values()), {inputs[name]: value for name, value in feeds.items()})
    return dict(zip(outputs, values, strict=True))


def _checked_answer(path: Path, specs: Sequence[TensorSpec], run: Callable[[Arrays], Arrays], feeds: Arrays) -> Arrays:
    try:
        return by_batch(specs, feeds, run)
    except Exception as error:
        raise _error(f"TensorFlow itself can't run {path}: {_line(error)}") from error


def _inverted(names: Mapping[str, str]) -> dict[str, str]:
    return {tensor: name for name, tensor in names.items()}
