"""A .tflite file as an object: read, name its ends, attach metadata, write with aligned constants.

edgekit's own metadata are entries of the file's `metadata` table, each with a buffer of UTF-8 text:
`edgekit.labels` (one class name a line) and `edgekit.preprocess` (JSON: resize, color, normalize).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "SIGNATURE",
    "name_ends",
    "op_names",
    "read",
    "rename",
    "set_metadata",
    "text_metadata",
    "write",
]

SIGNATURE = "serving_default"
_FILE_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
_LAST_OLD_CODE = 127


def read(content: bytes) -> Any:
    """The mutable object (`ModelT` of the TFLite schema) of a file's content."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write(model: Any) -> bytes:
    """The file's content. The same object gives the same bytes."""
    import flatbuffers

    # The schema wants constants at multiples of 16 bytes; the generated Python code places them anywhere, and a
    # runtime then copies each of them when it loads the file.
    model.buffers = [_aligned(buffer) for buffer in model.buffers]
    # Runtimes and tools before 2.3 know an operator by this field alone; quantizers leave it 0, which is ADD.
    for code in model.operatorCodes or []:
        code.deprecatedBuiltinCode = min(max(code.builtinCode, code.deprecatedBuiltinCode), _LAST_OLD_CODE)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def name_ends(model: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Put inputs and outputs in order and name them.

    Args:
        model: the file, with one signature.
        inputs, outputs: the converter's name in the signature to ours, in the order that the file shall have.
    """
    signature, subgraph = model.signatureDefs[0], model.subgraphs[0]
    signature.signatureKey = SIGNATURE
    signature.inputs, subgraph.inputs = _reordered(signature.inputs, inputs)
    signature.outputs, subgraph.outputs = _reordered(signature.outputs, outputs)


def rename(subgraph: Any, index: int, name: str) -> None:
    """Call a tensor `name`; with a semicolon behind it where another tensor is called so, as weights may be."""
    taken = {_text(tensor.name) for at, tensor in enumerate(subgraph.tensors) if at != index}
    while name in taken:
        name += ";"
    subgraph.tensors[index].name = name


def op_names(model: Any, subgraph: int = 0) -> list[str]:
    """The op of each operator of a subgraph, in execution order."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return [names[codes[operator.opcodeIndex]] for operator in model.subgraphs[subgraph].operators]


def text_metadata(model: Any, name: str) -> str | None:
    """The text of a metadata entry."""
    for entry in model.metadata or []:
        if _text(entry.name) == name:
            return bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
    return None


def set_metadata(model: Any, entries: Mapping[str, str | None]) -> None:
    """Add or replace metadata entries of text; None takes one away."""
    from ai_edge_litert import schema_py_generated as schema

    kept = [entry for entry in model.metadata or [] if _text(entry.name) not in entries]
    for name, text in entries.items():
        if text is None:
            continue
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(text.encode(), np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(model.buffers) - 1
        kept.append(entry)
    model.metadata = kept


def _reordered(maps: Sequence[Any], names: Mapping[str, str]) -> tuple[list[Any], list[int]]:
    """The signature's entries under their new names, and the tensors they stand for, in the order of `names`."""
    found = {_text(entry.name): entry for entry in maps}
    ordered = []
    for old, new in names.items():
        found[old].name = new
        ordered.append(found[old])
    return ordered, [int(entry.tensorIndex) for entry in ordered]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _aligned(buffer: Any) -> Any:
    """`buffer` as one that packs its data at a multiple of 16 bytes."""
    from ai_edge_litert import schema_py_generated as schema

    class Aligned(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - flatbuffers' name
            data = b"" if self.data is None else bytes(self.data)
            if data:
                builder.StartVector(1, len(data), _ALIGNMENT)
                builder.head -= len(data)
                builder.Bytes[builder.head : builder.head + len(data)] = data
                builder.vectorNumElems = len(data)
                vector = builder.EndVector()
            schema.BufferStart(builder)
            if data:
                schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    aligned = Aligned()
    aligned.data = buffer.data
    return aligned
