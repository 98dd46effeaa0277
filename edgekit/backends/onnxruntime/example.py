"""The shortest program that runs an .onnx artifact."""

from __future__ import annotations

from edgekit.backends.example import run_and_print
from edgekit.core.types import Artifact

__all__ = ["example"]


def example(artifact: Artifact) -> str:
    """A Python program that feeds zeros of the right shape and prints the outputs."""
    feeds = "\n".join(f'    "{spec.name}": np.zeros({spec.shape}, "{spec.dtype}"),' for spec in artifact.inputs)
    call = "dict(zip(names, session.run(names, inputs), strict=True))"
    return f'''"""Run {artifact.path.name}: pip install onnxruntime"""

from pathlib import Path

import numpy as np
import onnxruntime

model = Path(__file__).with_name("{artifact.path.name}")
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
inputs = {{
{feeds}
}}
{run_and_print(call, "name, value", "name, value.shape, value.ravel()[:10]", artifact.states)}'''
