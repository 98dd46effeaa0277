"""Tells which of many TFLite files a runtime opens: python runtime_probe.py FILES.npz, with the Python that has it.

FILES.npz holds each file's bytes under its name; the answer is a JSON list of the names of those that open. It needs
numpy and ai-edge-litert or tflite-runtime.
"""

from __future__ import annotations

import json
import sys

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter


def opens(content: bytes) -> bool:
    """Whether the runtime has all of the file's operators, in their versions."""
    try:
        Interpreter(model_content=content)
    except (RuntimeError, ValueError):
        return False
    return True


if __name__ == "__main__":
    with np.load(sys.argv[1]) as files:
        print(json.dumps([name for name in files if opens(files[name].tobytes())]))
