"""The shortest program that runs a .tflite artifact."""

from __future__ import annotations

from edgekit.backends.example import run_and_print
from edgekit.core.types import Artifact, TensorSpec

__all__ = ["example"]

_IMPORT = "from ai_edge_litert.interpreter import Interpreter"
_IMPORT_EITHER = f"""
try:
    {_IMPORT}
except ImportError:
    from tflite_runtime.interpreter import Interpreter"""


def example(artifact: Artifact) -> str:
    """A Python program that feeds zeros of the right shape and prints the outputs.

    It is for ai-edge-litert, and where the artifact runs there, too, also for tflite-runtime.
    """
    older = artifact.min_runtime.startswith("tflite-runtime")
    packages = "ai-edge-litert, or 'tflite-runtime' 'numpy<2'" if older else "ai-edge-litert"
    feeds = "\n".join(f"    {_feed(spec)}" for spec in artifact.inputs)
    running = run_and_print("run(**inputs)", "name, value", "name, value.shape, value", artifact.states)
    return f'''"""Run {artifact.path.name}: pip install {packages}"""

from pathlib import Path

import numpy as np
{_IMPORT_EITHER if older else _IMPORT}

run = Interpreter(str(Path(__file__).with_name("{artifact.path.name}"))).get_signature_runner()
inputs = {{
{feeds}
}}
{running}'''


def _feed(spec: TensorSpec) -> str:
    note = f"  # {spec.layout}" if spec.layout != "ND" else ""
    return f'"{spec.name}": np.zeros({spec.shape}, "{spec.dtype}"),{note}'
