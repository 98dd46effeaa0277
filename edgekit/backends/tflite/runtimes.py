"""Which TFLite runtimes take a file: by the versions of its operators, and by what their int8 kernels can do.

The facts are in `runtimes.toml`; a runtime is called as there, like "tflite-runtime 2.14".
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import InvalidInputError, UnsupportedOpError

__all__ = ["highest_versions", "int8_gaps", "oldest_runtime", "require", "require_known"]

_EVERY = "every"


@dataclass(frozen=True)
class _Need:
    """What an operator of a file asks of a runtime.

    `form` is "int8" where it gives integers, "dynamic" where it takes them for weights alone, else "".
    """

    op: str
    version: int
    layer: str
    form: str


def oldest_runtime(file: Any) -> str:
    """The oldest runtime that takes every operator of `file`; "" where none is known to."""
    places = [_first(need) for need in _needs(file)]
    names = list(_versions())
    return "" if None in places else names[max((place for place in places if place is not None), default=0)]


def require(file: Any, runtime: str) -> None:
    """Refuse a file that `runtime` can't take.

    Raises:
        UnsupportedOpError: names the operator, its layer and version, and what would take it.
    """
    names = list(_versions())
    for need in _needs(file):
        first = _first(need)
        if first is not None and first <= names.index(runtime):
            continue
        highest = _versions()[runtime].get(need.op, 0)
        form = {"int8": "it in int8", "dynamic": "it in dynamic int8"}.get(need.form, "")
        lacks = f"version {need.version} of it" if highest < need.version else form
        newer = f'have the target name a newer one, runtime = "{names[first]}"' if first is not None else ""
        other = "build --precision fp16" if lacks == form else f"change {need.layer}"
        raise UnsupportedOpError(
            f"{runtime} can't run the layer {need.layer}: its operator is {need.op}, and that runtime does not have "
            f"{lacks}{f' (only up to {highest})' if 0 < highest < need.version else ''}",
            blame="your model on this target",
            remedy=f"If the device can have it, {newer}; else {other}." if newer else f"{other.capitalize()}.",
        )


def int8_gaps(runtime: str) -> frozenset[str]:
    """The operators that ai-edge-quantizer makes int8 and `runtime` only has in float."""
    names = list(_versions())
    gaps = {op for op, since in _facts()["int8"].items() if names.index(since) > names.index(runtime)}
    return frozenset(gaps - {_EVERY})


def highest_versions(runtime: str) -> Mapping[str, int]:
    """The highest version of each operator that `runtime` takes."""
    return _versions()[runtime]


def require_known(runtime: str) -> None:
    """Refuse a name that is no runtime's.

    Raises:
        InvalidInputError: lists those that there are.
    """
    if runtime not in _versions():
        close = difflib.get_close_matches(runtime, _versions(), n=1)
        raise InvalidInputError(
            f"there is no TFLite runtime called {runtime!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            blame="your target file",
            remedy=f"Under [options], set runtime to one of: {', '.join(_versions())}.",
        )


@functools.cache
def _facts() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("runtimes.toml").read_text(encoding="utf-8"))


@functools.cache
def _versions() -> Mapping[str, Mapping[str, int]]:
    """By runtime, the oldest first: the highest version of each operator."""
    taken: dict[str, int] = {}
    found = {}
    for runtime, newer in _facts()["versions"].items():
        taken = {**taken, **newer}
        found[runtime] = taken
    return found


def _needs(file: Any) -> Iterator[_Need]:
    from ai_edge_litert.schema_py_generated import TensorType

    from edgekit.formats.tflite import flatbuffer  # imports numpy, which a list of targets does without

    eight = (TensorType.INT8, TensorType.UINT8)
    for place, subgraph in enumerate(file.subgraphs):
        for op, operator in zip(flatbuffer.op_names(file, place), subgraph.operators, strict=True):
            given = [subgraph.tensors[index] for index in operator.outputs]
            weights = [subgraph.tensors[index] for index in operator.inputs[1:2] if index >= 0]
            whole, stored = (any(tensor.type in eight for tensor in tensors) for tensors in (given, weights))
            name = given[0].name if given else op
            yield _Need(
                op=op,
                version=file.operatorCodes[operator.opcodeIndex].version,
                layer=(name.decode() if isinstance(name, bytes) else name).split(";")[0].rpartition("/")[0] or op,
                form="int8" if whole else "dynamic" if stored else "",
            )


def _first(need: _Need) -> int | None:
    """The place of the oldest runtime that takes it; None where no known one does."""
    by_version = _by_version(need)
    if by_version is None or not need.form:
        return by_version
    since = _facts()[need.form]
    return max(by_version, list(_versions()).index(since.get(need.op, since[_EVERY])))


def _by_version(need: _Need) -> int | None:
    taken = (place for place, ops in enumerate(_versions().values()) if ops.get(need.op, 0) >= need.version)
    return next(taken, None)
