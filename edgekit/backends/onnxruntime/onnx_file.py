"""Writes a Model as a small .onnx file: the same model gives the same bytes.

What a runtime infers anyway is left out, and values between layers get short names: beside a small network's weights
these weigh as much. Inputs, outputs and layers keep theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.quantize.nodes import QDQ

__all__ = ["write"]


def write(model: Model, path: Path, *, batch: int, notes: Mapping[str, Any]) -> None:
    """Write a copy of `model` as `path`.

    Args:
        batch: what an open batch is fixed to.
        notes: what goes under "edgekit.<key>" in the file's metadata, each value as JSON.
    """
    proto = model.clone().proto
    graph = proto.graph
    ends = [*graph.inputs, *graph.outputs]
    for value in ends:
        assert value.shape is not None
        value.shape = ir.Shape([size if isinstance(size, int) else batch for size in value.shape])
        value.metadata_props.clear()
    inner = [value for node in graph for value in node.outputs if not value.is_graph_output()]
    _name_briefly([*graph.initializers.values(), *inner], {str(value.name) for value in ends})
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        if node.op_type in QDQ:
            node.name = None
    proto.metadata_props.clear()
    proto.metadata_props.update(
        {f"edgekit.{key}": json.dumps(value, separators=(",", ":"), sort_keys=True) for key, value in notes.items()}
    )
    file = ir.to_proto(proto)
    del file.graph.value_info[:]
    path.write_bytes(file.SerializeToString(deterministic=True))


def _name_briefly(values: Iterable[ir.Value], taken: set[str]) -> None:
    """Number the values, in order."""
    names = (name for number in count() if (name := format(number, "x")) not in taken)
    for value in values:
        if value.name:  # an output that nobody reads may have none
            value.name = next(names)
