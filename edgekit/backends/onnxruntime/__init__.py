"""The onnxruntime back end: fp32 and int8 (QDQ) ONNX files for x86-64 and ARM CPUs, run in ONNX Runtime."""

from __future__ import annotations

from edgekit.backends.onnxruntime.backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
