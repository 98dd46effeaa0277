"""The TFLite back end: fp32 through the TensorFlow lowering, fp16 and int8 through ai-edge-quantizer."""

from edgekit.backends.tflite.backend import TFLiteBackend

__all__ = ["TFLiteBackend"]
