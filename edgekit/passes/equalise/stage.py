"""The equalisation stage: what the pipeline calls in a child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.equalise.equalise import EqualiseChannels

__all__ = ["equalise_model"]

# Whether a channel stands out is seen on few.
_SAMPLES = 64


def equalise_model(source: str, out: str, samples: str, seed: int) -> dict[str, Any]:
    """Equalise the Model in the file `source`, and write it as `model.onnx` to the folder `out`.

    Args:
        source: path of a fused Model.
        out: an existing folder.
        samples: an .npz of calibration samples by input name.
        seed: seed of the random inputs that the pass is checked with.

    Returns:
        `equalised`: how many sets of channels were scaled.

    Raises:
        DefectError: the pass crashed or broke its claim.
    """
    with np.load(samples, allow_pickle=False) as archive:
        arrays = {name: archive[name][:_SAMPLES] for name in archive.files}
    model, (record,) = apply(Model.load(Path(source)), [EqualiseChannels(arrays)], seed)
    model.save(Path(out, "model.onnx"))
    return {"equalised": record.fired}
