"""The network behind a SavedModel's signature in a TensorFlow session, and as a graph without variables.

`tf.saved_model.load` would build the whole object graph, and TensorFlow's older loader would run whatever the model
names as its start-up; here only what the scan let through is put in a graph, and only its variables are restored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import TensorSpec
from edgekit.formats.conversion import inline_functions
from edgekit.formats.savedmodel.scan import pruned_graph, scan_inference, scan_restore

__all__ = ["freeze", "network_of", "open_session", "weights"]

_VARIABLES = {"VarHandleOp", "Variable", "VariableV2"}
# Where TensorFlow's freezing looks for the value of a variable.
_READ = "/Read/ReadVariableOp"


def network_of(
    path: Path, graph_def: Any, inputs: Mapping[str, str], specs: Sequence[TensorSpec], outputs: Iterable[str]
) -> Any:
    """The scanned part of a SavedModel's graph from a signature's inputs to its outputs.

    Args:
        path: names the model in messages.
        graph_def: the whole graph (`GraphDef`).
        inputs: the inputs' tensors ("node:0"), in the order of `specs`.
        specs: their sizes, which are written into the graph.
        outputs: the outputs' tensors.

    Raises:
        InvalidInputError: the graph is damaged, or does more than compute.
        UnsupportedOpError: an operator that TensorFlow does not have.
    """
    starts = {tensor.split(":")[0]: spec for tensor, spec in zip(inputs, specs, strict=True)}
    network = pruned_graph(path, graph_def, [tensor.split(":")[0] for tensor in outputs], starts)
    scan_inference(path, network)
    for node in network.node:
        if node.name in starts:
            if not node.op.startswith("Placeholder"):
                raise _damaged(path, f"the input {starts[node.name].name!r} is not one of its graph's inputs")
            _rewrite(node, "Placeholder", "dtype", node.attr["dtype"].type)
            for size in starts[node.name].shape:
                node.attr["shape"].shape.dim.add(size=-1 if size is None else size)
        elif node.op == "PlaceholderWithDefault":
            # What is no input of the signature keeps its default, like Keras' old switch for training.
            source = node.input[0]
            _rewrite(node, "Identity", "T", node.attr["dtype"].type)
            node.input.append(source)
    return network


def open_session(path: Path, meta_graph: Any, network: Any) -> Any:
    """A session that holds `network` with its variables restored.

    Args:
        path: the SavedModel's folder.
        meta_graph: has the whole graph, and says what restores the variables.
        network: what `network_of` gave.

    Raises:
        InvalidInputError: variables are missing or damaged, or restoring them would do anything else.
    """
    import tensorflow as tf

    whole = type(network)()
    whole.CopyFrom(network)
    saver = meta_graph.saver_def
    stored = any(node.op in _VARIABLES for node in network.node)
    if stored:
        file = saver.filename_tensor_name.split(":")[0]
        restore = pruned_graph(path, meta_graph.graph_def, [saver.restore_op_name, file])
        scan_restore(path, restore)
        _merge(whole, restore)
        _add_reads(path, whole)
    for node in whole.node:
        node.device = ""
        node.attr.pop("_class", None)
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(whole, name="")
        session = tf.compat.v1.Session(graph=graph)
        if stored:
            session.run(saver.restore_op_name, {saver.filename_tensor_name: str(path / "variables" / "variables")})
    except Exception as error:
        raise _damaged(path, " ".join(str(error).split())[:300]) from error
    return session


def weights(session: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The network's variables by name, or, where it has none, the constants of its graph."""
    import tensorflow as tf

    graph_def = session.graph.as_graph_def()
    reads = {name: f"{name}{_READ if op == 'VarHandleOp' else ''}:0" for name, op in _variables(graph_def)}
    if reads:
        values: dict[str, np.ndarray[Any, Any]] = session.run(reads)
        return values
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in nodes if node.op == "Const"}


def freeze(session: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The network with its variables as constants and its functions inlined (`GraphDef`).

    Args:
        session: what `open_session` gave.
        inputs, outputs: tensors ("node:0").
    """
    import tensorflow as tf

    nodes = [tensor.split(":")[0] for tensor in (*outputs, *inputs)]
    constant = tf.compat.v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), nodes)
    return inline_functions(constant, inputs, outputs)


def _damaged(path: Path, cause: str) -> InvalidInputError:
    return InvalidInputError(
        f"{path} is a damaged SavedModel: {cause}",
        blame="your model",
        remedy="Save it again with the tool that made it, or copy it again, with its folder variables.",
    )


def _rewrite(node: Any, op: str, kind: str, dtype: int) -> None:
    """Make `node` an operator without inputs and with one attribute for its type."""
    node.op = op
    del node.input[:]
    node.attr.clear()
    node.attr[kind].type = dtype


def _merge(whole: Any, part: Any) -> None:
    """Add the nodes and functions of `part` that `whole` does not have."""
    nodes = {node.name for node in whole.node}
    functions = {function.signature.name for function in whole.library.function}
    whole.node.extend(node for node in part.node if node.name not in nodes)
    whole.library.function.extend(f for f in part.library.function if f.signature.name not in functions)


def _variables(graph_def: Any) -> list[tuple[str, str]]:
    return [(node.name, node.op) for node in graph_def.node if node.op in _VARIABLES]


def _add_reads(path: Path, graph_def: Any) -> None:
    """For each variable, the node that reads it."""
    nodes = {node.name: node for node in graph_def.node}
    for name in [name for name, op in _variables(graph_def) if op == "VarHandleOp"]:
        read = nodes.get(name + _READ)
        if read is None:
            node = graph_def.node.add(name=name + _READ, op="ReadVariableOp", input=[name])
            node.attr["dtype"].type = nodes[name].attr["dtype"].type
        elif read.op != "ReadVariableOp" or list(read.input) != [name]:
            raise _damaged(path, f"{read.name!r} does not read its variable")
