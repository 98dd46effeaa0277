"""Which ops OpenVINO can't take, without asking it: inspecting a model should not have to import it."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit.ir.model import Model

__all__ = ["UNSUPPORTED", "unsupported_ops"]

# Ops of ONNX opset 24 for which the ONNX front end of OpenVINO 2026.4 says "No conversion rule found";
# tests/backends/test_openvino_support.py asks it again.
UNSUPPORTED = frozenset(
    {
        "ConcatFromSequence", "DeformConv", "Det", "ImageDecoder", "MaxUnpool", "MelWeightMatrix", "Optional",
        "OptionalGetElement", "OptionalHasElement", "RegexFullMatch", "SequenceConstruct", "SequenceEmpty",
        "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence", "StringConcat",
        "StringNormalizer", "StringSplit", "TensorScatter", "TfIdfVectorizer",
    }
)  # fmt: skip
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft", "org.openvinotoolkit"})
_REMEDY = "Replace it in the network by ops of the ONNX standard that OpenVINO has, or build for a tflite target."


def unsupported_ops(model: Path) -> list[tuple[str, str, str]]:
    """The nodes of the Model at `model` that OpenVINO can't take: (layer, op type, remedy) each."""
    found = []
    for node in Model.load(model).graph.all_nodes():
        if node.op_type in UNSUPPORTED or node.domain not in _DOMAINS:
            op = node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
            found.append((node.name or "", op, _REMEDY))
        elif form := misread_form(node):
            remedy = f"OpenVINO knows no {form}: replace it in the network, or build for a tflite target."
            found.append((node.name or "", node.op_type, remedy))
    return found


def misread_form(node: ir.Node) -> str | None:
    """What of a node OpenVINO refuses, or passes over without a word, where it takes the op otherwise."""
    attributes = node.attributes
    match node.op_type:
        case "Pad" if attributes.get_string("mode", "constant") == "wrap":
            return "padding by wrapping around"
        case "Resize" if attributes.get_int("antialias", 0):
            return "antialiased Resize"
        case "Resize" if attributes.get_int("exclude_outside", 0):
            return "Resize that leaves out what lies outside"
        case "LSTM" if len(node.inputs) > 7 and node.inputs[7] is not None:
            return "peepholes of an LSTM"
    return None
