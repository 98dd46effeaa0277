"""Writes an OpenVINO model so that the same model gives the same, small bytes.

As it comes, the .xml holds names from a counter of the process, the path of its source, and blanks; for a small
network it outweighs the weights. Only what a reader can do without is left out: equal quantization ranges are declared
once, tensor names stay on inputs and outputs only, layers keep their names.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.openvino.quiet import import_openvino

__all__ = ["write"]

# The first OpenVINO release with each operation set.
_RELEASES = {
    8: "2022.1", 9: "2022.2", 10: "2022.3", 11: "2023.0", 12: "2023.1", 13: "2023.2", 14: "2024.2", 15: "2024.4",
    16: "2025.1",
}  # fmt: skip

_WEIGHTED = frozenset(
    {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"}
)
_HALF_OF_SMALLEST_FLOAT16 = 2.0**-25


def write(
    model: Any,
    path: Path,
    *,
    layers: Collection[str],
    notes: Mapping[str, Any],
    fp16: bool,
    halved: Collection[str] = (),
) -> str:
    """Write `model` as `path` (.xml) and the .bin beside it.

    Args:
        model: an `openvino.Model`; it is changed.
        layers: names that belong to the user's network and stay; other ops are numbered.
        notes: what goes under "edgekit" in the file's own metadata, each value as JSON.
        fp16: store float constants as float16.
        halved: layers whose float weights are stored as float16 if not all are.

    Returns:
        The oldest release that reads the file, like "openvino 2022.1", or "" when not known.
    """
    if fp16:
        _flush_tiny_weights(model)
    _halve(model, halved)
    _share_ranges(model)
    _drop_inner_tensor_names(model)
    _name_repeatably(model, layers)
    for key in list(model.rt_info.keys()):
        del model.rt_info[key]
    for key, value in notes.items():
        model.set_rt_info(json.dumps(value, separators=(",", ":"), sort_keys=True), ["edgekit", key])
    import_openvino().save_model(model, path, compress_to_fp16=fp16)
    tree = ET.parse(path)  # noqa: S314 - OpenVINO wrote it a line earlier
    _strip_blanks(tree.getroot())
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return _oldest_release(tree.getroot())


def _flush_tiny_weights(model: Any) -> None:
    """Set weights to zero that float16 rounds to zero: OpenVINO leaves a constant with many of them in float32."""
    ov = import_openvino()
    for op in _constants(model):
        readers = op.output(0).get_target_inputs()
        weights = any(reader.get_index() == 1 and reader.get_node().get_type_name() in _WEIGHTED for reader in readers)
        tiny = np.abs(op.get_data()) < _HALF_OF_SMALLEST_FLOAT16 if weights else None
        if tiny is not None and tiny.any():
            flushed = ov.op.Constant(np.where(tiny, np.float32(0), op.get_data()))
            for reader in readers:
                reader.replace_source_output(flushed.output(0))


def _halve(model: Any, layers: Collection[str]) -> None:
    """Store the float weights of `layers` as float16; OpenVINO widens them when it compiles the network."""
    ov = import_openvino()
    for op in model.get_ordered_ops():
        if op.get_type_name() not in _WEIGHTED or not any(part in layers for part in _prefixes(op.get_friendly_name())):
            continue
        port = op.input(1)
        while (source := port.get_source_output().get_node()).get_input_size():
            port = source.input(0)
        if source.get_type_name() == "Constant" and source.get_element_type() == ov.Type.f32:
            narrow = ov.op.Constant(source.get_data().astype(np.float16))
            port.replace_source_output(ov.opset8.convert(narrow, "f32").output(0))


def _share_ranges(model: Any) -> None:
    """Let equal ranges be one constant: a FakeQuantize states its input range again as its output range.

    Only ranges: whoever corrects a bias of the fp32 file must not meet it in two layers.
    """
    first: dict[tuple[str, bytes], Any] = {}
    for op in model.get_ordered_ops():
        if op.get_type_name() == "FakeQuantize":
            for port in op.inputs()[1:]:
                constant = port.get_source_output().get_node()
                if constant.get_type_name() == "Constant":
                    key = (str(constant.get_output_shape(0)), constant.get_data().tobytes())
                    port.replace_source_output(first.setdefault(key, constant).output(0))


def _constants(model: Any) -> list[Any]:
    return [op for op in model.get_ordered_ops() if op.get_type_name() == "Constant"]


def _drop_inner_tensor_names(model: Any) -> None:
    borders = {port.get_any_name() for port in (*model.inputs, *model.outputs) if port.get_names()}
    for op in model.get_ordered_ops():
        for port in op.outputs():
            if not borders & port.get_names():
                port.set_names(set())


def _name_repeatably(model: Any, layers: Collection[str]) -> None:
    """Number the ops that aren't the user's layers (or a part of one: "<layer>/…") by their place in the graph."""
    for index, op in enumerate(model.get_ordered_ops()):
        name, kind = op.get_friendly_name(), op.get_type_name()
        inner = kind not in {"Parameter", "Result"}
        if inner and (kind == "Constant" or not any(part in layers for part in _prefixes(name))):
            numbered = f"{kind}_{index}"
            op.set_friendly_name(numbered if numbered not in layers else f"{numbered}_")


def _prefixes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _strip_blanks(root: ET.Element) -> None:
    for element in root.iter():
        element.text = element.text if element.text and element.text.strip() else None
        element.tail = None


def _oldest_release(root: ET.Element) -> str:
    versions = [layer.get("version", "") for layer in root.iter("layer")]
    sets = [int(version.removeprefix("opset")) for version in versions if version.startswith("opset")]
    release = _RELEASES.get(max([8, *sets])) if len(sets) == len(versions) else None
    return f"openvino {release}" if release else ""
