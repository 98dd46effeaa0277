"""The one representation that everything between import and back end works on: a normalised ONNX graph."""

from edgekit.ir.model import Model

__all__ = ["Model"]
