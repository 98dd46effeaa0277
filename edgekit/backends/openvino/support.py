"""Which ops OpenVINO can't take, without asking it: inspecting a model should not have to import it."""

from __future__ import annotations

from pathlib import Path

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
    """The nodes of the Model at `model` that OpenVINO has no rule for: (layer, op type, remedy) each."""
    return [
        (node.name or "", node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}", _REMEDY)
        for node in Model.load(model).graph.all_nodes()
        if node.op_type in UNSUPPORTED or node.domain not in _DOMAINS
    ]
