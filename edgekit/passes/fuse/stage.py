"""The fusion stage: what the pipeline calls in a child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION

__all__ = ["fuse_model"]


def fuse_model(source: str, out: str, seed: int) -> dict[str, Any]:
    """Fuse the Model in the file `source`, and write it as `model.onnx` to the folder `out`.

    Args:
        source: path of the imported Model.
        out: an existing folder.
        seed: seed of the random inputs that the passes are checked with.

    Returns:
        `passes`, one record each (name, modified, fired, max_relative), and `nodes_before`, `nodes_after`.

    Raises:
        DefectError: a pass crashed or broke its claim.
    """
    model = Model.load(Path(source))
    fused, records = apply(model, FUSION, seed, until_stable=True)
    fused.save(Path(out, "model.onnx"))
    return {
        "passes": [
            {"name": each.name, "modified": each.modified, "fired": each.fired, "max_relative": each.max_relative}
            for each in records
        ],
        "nodes_before": len(model.graph),
        "nodes_after": len(fused.graph),
    }
