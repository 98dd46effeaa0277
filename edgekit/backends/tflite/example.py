"""The shortest program that runs a .tflite artifact."""

from __future__ import annotations

from edgekit.backends.example import run_and_print
from edgekit.core.types import Artifact, TensorSpec

__all__ = ["example"]


def example(artifact: Artifact) -> str:
    """A Python program for ai-edge-litert that feeds zeros of the right shape and prints the outputs."""
    feeds = "\n".join(f"    {_feed(spec)}" for spec in artifact.inputs)
    running = run_and_print("run(**inputs)", "name, value", "name, value.shape, value", artifact.states)
    return f'''"""Run {artifact.path.name}: pip install ai-edge-litert"""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

run = Interpreter(str(Path(__file__).with_name("{artifact.path.name}"))).get_signature_runner()
inputs = {{
{feeds}
}}
{running}'''


def _feed(spec: TensorSpec) -> str:
    note = f"  # {spec.layout}" if spec.layout != "ND" else ""
    return f'"{spec.name}": np.zeros({spec.shape}, "{spec.dtype}"),{note}'
