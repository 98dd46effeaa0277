"""The openvino back end: fp32, fp16 and int8 (through NNCF) for Intel CPUs, run in OpenVINO."""

from __future__ import annotations

from edgekit.backends.openvino.backend import OpenVINOBackend

__all__ = ["OpenVINOBackend"]
