"""The factorizing stage: what the pipeline calls in a child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.quantization import forget_quant_params
from edgekit.passes.contract import apply
from edgekit.passes.factorize.factorization import Factorize
from edgekit.passes.prune.dependencies import plain
from edgekit.passes.prune.request import Pruning

__all__ = ["factorize_model"]


def factorize_model(source: str, out: str, pruning: Pruning, *, samples: str, seed: int) -> dict[str, Any]:
    """Factorize the Model in the file `source`, and write it as `model.onnx` to the folder `out`.

    Args:
        source: path of the imported Model.
        out: an existing folder.
        pruning: how much, in one step; the importance "l2" goes by the weights alone.
        samples: an .npz of calibration samples by input name.
        seed: of whatever is random.

    Returns:
        What `prune_model` returns; layers are the groups, and ranks what they keep.

    Raises:
        InvalidInputError: no layer can be two, or not that much can go.
    """
    model = Model.load(Path(source))
    forget_quant_params(model)  # the ranges of a source that is quantized are those of other activations
    model = plain(model)
    with np.load(samples, allow_pickle=False) as archive:
        arrays = {} if pruning.importance == "l2" else dict(archive)
    amount = pruning.kept[0] if pruning.kept else pruning.prune
    assert amount is not None
    factorize = Factorize(amount, arrays, multiple=pruning.multiple, seed=seed)
    thin, _ = apply(model, [factorize], seed)
    thin.save(Path(out, "model.onnx"))
    return {
        "kept": [[layer.rank for layer in factorize.ranked]],
        "multiple": factorize.multiple,
        "groups": [
            {"name": layer.name, "kept": layer.rank, "channels": layer.full} for layer in factorize.ranked if layer.rank
        ],
        "left": model_cost(thin).macs / model_cost(model).macs,
        "predicted": None,
    }
