"""The onnxruntime back end: fp32, int8 (QDQ) and dynamic ONNX files for x86-64 and ARM CPUs, run in ONNX Runtime."""

from __future__ import annotations

from edgekit.backends.onnxruntime.backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
