"""The repair stage: what the pipeline calls in a child process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.core.repair import Repair
from edgekit.core.types import Integers, QuantPlan
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.quantize.repair import RepairForInt8

__all__ = ["repair_model"]


def repair_model(
    source: str, out: str, repair: Repair, integers: Integers, *, plan: QuantPlan, samples: str, seed: int
) -> None:
    """Bring the Model in the file `source` into its int8 form, as `model.onnx` in the folder `out`.

    Args:
        source: path of a fused Model.
        out: an existing folder.
        repair: what is done.
        integers: what int8 is to the back end.
        plan: which layers are int8; the others stay as they are.
        samples: an .npz of calibration samples by input name.
        seed: seed of the random inputs that the pass is checked with.

    Raises:
        InvalidInputError: the samples don't fit, or a value is infinite on them.
    """
    with np.load(samples, allow_pickle=False) as archive:
        work = RepairForInt8(repair, integers, plan, dict(archive))
    model, _ = apply(Model.load(Path(source)), [work], seed)
    model.save(Path(out, "model.onnx"))
