"""TFLite files: looked through as a structure, named after their layers, and converted through tf2onnx."""
