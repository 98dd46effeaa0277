"""What a SavedModel would run, found in its graph before anything of it is executed.

A SavedModel is a TensorFlow program: its graph may read and write files, run Python, or change its own variables, and
loading it runs parts of that graph. Only two parts are ever run here: the operators behind one signature, and those
that restore the variables; the scan holds each to what its task needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, InvalidInputError, UnsupportedOpError
from edgekit.formats.source import undeclared_state

__all__ = ["pruned_graph", "scan_inference", "scan_restore"]

# Operators with side effects by TensorFlow's own account, of which these only read variables, draw numbers, or call.
_HARMLESS = {
    "Assert", "Case", "CheckNumerics", "CheckNumericsV2", "DisableCopyOnRead", "Empty",
    "GuaranteeConst", "If", "Multinomial", "RandomGamma",
    "RandomPoissonV2", "RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "ReadVariableOp",
    "ResourceGather", "ResourceGatherNd", "StatefulPartitionedCall", "TensorArrayV3", "TensorArrayGatherV3",
    "TensorArrayReadV3", "TensorArrayScatterV3", "TensorArraySizeV3", "TensorArrayWriteV3", "TruncatedNormal",
    "VarHandleOp", "VarIsInitializedOp", "Variable", "VariableShape", "VariableV2", "While",
}  # fmt: skip
_STATE = ("Assign", "ResourceApply", "ResourceScatter", "ResourceSparseApply", "ResourceStridedSliceAssign", "Scatter")
_PURE_SCATTER = {"ScatterNd", "ScatterNdNonAliasingAdd"}
# Operators that TensorFlow takes for pure functions, though they open files, or run foreign code.
_FILES_AND_CODE = {
    "DebugIdentity", "DebugNanCount", "DebugNumericSummary", "GenerateVocabRemapping", "ImmutableConst",
    "InitializeTableFromTextFile", "MatchingFiles", "PyFuncStateless", "ReadFile", "XlaCustomCall", "XlaCustomCallV2",
    "XlaLaunchV2",
}  # fmt: skip
_FILES_AND_CODE_PARTS = ("Dataset", "Reader", "TPU", "Tpu")
_RESTORE = {
    "Assign", "AssignVariableOp", "Cast", "Const", "Identity", "IdentityN", "MergeV2Checkpoints", "NoOp", "Pack",
    "PartitionedCall", "Placeholder", "PlaceholderWithDefault", "ReadVariableOp", "Reshape", "RestoreV2",
    "StatefulPartitionedCall", "VarHandleOp", "Variable", "VariableV2",
}  # fmt: skip


def pruned_graph(path: Path, graph_def: Any, ends: Iterable[str], starts: Iterable[str] = ()) -> Any:
    """The part of a graph that the nodes `ends` need, with all functions that it calls.

    Args:
        path: names the model in messages.
        graph_def: the whole graph (`GraphDef`).
        ends, starts: names of nodes; what lies before `starts` is left out.

    Raises:
        InvalidInputError: a node or function is not there.
    """
    nodes = {node.name: node for node in graph_def.node}
    kept, todo, stop = set[str](), list(ends), set(starts)
    while todo:
        name = todo.pop()
        if name in kept:
            continue
        if name not in nodes:
            raise _damaged(path, f"its graph has no node {name!r}")
        kept.add(name)
        if name not in stop:
            todo += [_node_of(source) for source in nodes[name].input]
    pruned = type(graph_def)()
    pruned.versions.CopyFrom(graph_def.versions)
    pruned.node.extend(node for node in graph_def.node if node.name in kept)
    functions = {function.signature.name: function for function in graph_def.library.function}
    wanted = _called(path, pruned.node, functions)
    pruned.library.function.extend(functions[name] for name in sorted(wanted))
    return pruned


def scan_inference(path: Path, graph_def: Any) -> None:
    """Check that a pruned graph computes, and does nothing else.

    Raises:
        InvalidInputError: an operator reads or writes files, runs foreign code, or keeps state between calls.
        UnsupportedOpError: an operator that TensorFlow does not have.
    """
    for node in _all_nodes(graph_def):
        if node.op.startswith(_STATE) and node.op not in _PURE_SCATTER:
            raise undeclared_state(f"{path} keeps state between calls: {node.name!r} is an {node.op}")
        if _touches_the_outside(path, node):
            raise _error(
                path,
                f"would read or write outside its own graph, or run code: {node.name!r} is a {node.op}",
                "Export the network alone, without its input pipeline, tables and Python functions.",
            )


def scan_restore(path: Path, graph_def: Any) -> None:
    """Check that a pruned graph does nothing but restore variables.

    Raises:
        InvalidInputError: it holds any other operator.
    """
    for node in _all_nodes(graph_def):
        if node.op not in _RESTORE:
            raise _error(
                path,
                f"would do more than restore its variables when it is loaded: {node.name!r} is a {node.op}",
                "Get the model from its maker again.",
            )


def _error(path: Path, cause: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {cause}", blame="your model", remedy=remedy)


def _damaged(path: Path, cause: str) -> EdgekitError:
    return _error(path, f"is a damaged SavedModel: {cause}", "Save it again with the tool that made it.")


def _node_of(tensor: str) -> str:
    """The node that an input of a node ("name", "name:1", or "^name" for order alone) comes from."""
    return tensor.removeprefix("^").split(":")[0]


def _all_nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _called(path: Path, nodes: Iterable[Any], functions: Mapping[str, Any]) -> set[str]:
    """Names of all functions that nodes call, directly or through each other."""
    found, todo = set[str](), list(_functions_of(nodes))
    while todo:
        name = todo.pop()
        if name in found:
            continue
        if name not in functions:
            raise _damaged(path, f"it has no function {name!r}")
        found.add(name)
        todo += _functions_of(functions[name].node_def)
    return found


def _functions_of(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        for attribute in node.attr.values():
            for function in (attribute.func, *attribute.list.func):
                if function.name:
                    yield function.name


def _touches_the_outside(path: Path, node: Any) -> bool:
    from tensorflow.python.framework import op_def_registry

    known = op_def_registry.get(node.op)
    if known is None:
        raise UnsupportedOpError(
            f"{path}: {node.name!r} is a {node.op}, which TensorFlow does not have",
            blame="your model",
            remedy=f"Replace {node.op} where the model is defined, and export it again.",
        )
    if node.op in _FILES_AND_CODE or any(part in node.op for part in _FILES_AND_CODE_PARTS):
        return True
    return known.is_stateful and node.op not in _HARMLESS
