"""Keras files: scanned for code, opened by Keras 3 or else tf_keras, and traced layer by layer."""
