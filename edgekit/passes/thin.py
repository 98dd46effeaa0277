"""The stage that thins out weights: some become zero, and the others of a layer come to share few values.

It follows fusion, because scales that fusion folds into weights would make new values of shared ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Thinning", "thin_model"]

_FIRST = 0.8  # of the zeros, which come first


@dataclass(frozen=True)
class Thinning:
    """How.

    Attributes:
        sparsity: the share of the weights that becomes zero, or "N:M"; None: they stay.
        pattern: which, of a share.
        clusters: how many values the weights of a layer share; None: they keep their own.
    """

    sparsity: float | str | None
    pattern: str
    clusters: int | None

    @property
    def steps(self) -> tuple[Thinning, ...]:
        """The steps to go in where a training follows each: most of the zeros, all of them, the code books."""
        shares: list[float | str] = [] if self.sparsity is None else [self.sparsity]
        if isinstance(self.sparsity, float):
            shares.insert(0, _FIRST * self.sparsity)
        books = [] if self.clusters is None else [replace(self, sparsity=None)]
        return (*(replace(self, sparsity=share, clusters=None) for share in shares), *books)


def thin_model(source: str, out: str, thinning: Thinning, *, samples: str | None, seed: int) -> dict[str, Any]:
    """Thin out the Model in the file `source`, and write it as `model.onnx` to the folder `out`.

    Args:
        source: path of a fused Model.
        out: an existing folder.
        thinning: how.
        samples: an .npz of calibration samples by input name, on which layers are brought back to the outputs that they
            had; None: they stay as they come out.
        seed: of whatever is random.

    Returns:
        `sparsity`: the zeros among the weights that take part, as a share; `layers`: of each of them its name, how many
        weights it has, how many of these are zero, and the size of its code book (None where there is none).

    Raises:
        InvalidInputError: the model has no weights that could take part.
    """
    import numpy as np

    from edgekit.ir.model import Model
    from edgekit.ir.quantization import forget_quant_params
    from edgekit.passes.cluster.clustering import ClusterWeights, code_books
    from edgekit.passes.contract import Pass, apply
    from edgekit.passes.correction import CorrectOutputs
    from edgekit.passes.layer_weights import layer_weights
    from edgekit.passes.sparsify.sparsify import Sparsify

    model = Model.load(Path(source))
    forget_quant_params(model)  # the ranges of a source that is quantized are those of other weights
    passes: list[Pass] = []
    if thinning.sparsity is not None:
        passes.append(Sparsify(thinning.sparsity, pattern=thinning.pattern, seed=seed))
    if thinning.clusters is not None:
        passes.append(ClusterWeights(thinning.clusters))
    if samples is not None:
        with np.load(samples, allow_pickle=False) as archive:
            passes.append(CorrectOutputs(model, dict(archive)))
    model, _ = apply(model, passes, seed)
    model.save(Path(out, "model.onnx"))
    layers, books = layer_weights(model), code_books(model)
    zeros = [int((weights.content == 0).sum()) for weights in layers]
    return {
        "sparsity": sum(zeros) / sum(weights.content.size for weights in layers),
        "layers": [
            {
                "name": weights.layer,
                "weights": weights.content.size,
                "zeros": zero,
                "code_book": books[weights.constant].centres.size if weights.constant in books else None,
            }
            for weights, zero in zip(layers, zeros, strict=True)
        ],
    }
