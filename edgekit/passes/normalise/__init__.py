"""The normal form of a network: any ONNX graph in, a Model out. BatchNorm stays; nothing is fused here."""

from edgekit.passes.normalise.normalise import normalise

__all__ = ["normalise"]
