"""What a channel contributes to the layers that read it, measured on calibration samples.

The contribution of a channel to a linear layer's output has the mean square E[x²] · ‖w‖², w its weights there: the
criterion of Wanda (Sun et al., ICLR 2024, arXiv:2306.11695) summed over a structure, in the manner of ThiNet (Luo et
al., ICCV 2017, arXiv:1707.06342), which too judges a channel by the layer behind it.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.importance import Evidence, Scores, content_of, ranks_by
from edgekit.passes.prune.layers import WeightAxis, layers
from edgekit.passes.walk import Walk, affordable

__all__ = ["activations"]


@ranks_by("activations")
def activations(model: Model, dependencies: Dependencies, evidence: Evidence) -> Scores:
    """The share that the channel has in its readers' outputs, summed over the readers.

    Raises:
        UsageError: there are no samples.
    """
    evidence.require_samples("activations")
    wanted = {int(root) for group in dependencies.groups for root in group.roots}
    readers = [
        (node, reads)
        for node, _, reads in layers(model.graph)
        if reads is not None and _reads(dependencies, reads, wanted)
    ]
    squares = _mean_squares(model, readers, evidence)
    total: dict[int, float] = defaultdict(float)
    for _, reader in readers:
        shares = _shares(model, dependencies, reader, squares[str(reader.data.name), reader.data_axis])
        for root, share in shares.items():
            total[root] += share
    return tuple(np.array([total[int(root)] for root in group.roots]) for group in dependencies.groups)


def _reads(dependencies: Dependencies, reader: WeightAxis, wanted: set[int]) -> bool:
    roots = dependencies.roots(str(reader.data.name), reader.data_axis)
    return roots is not None and not wanted.isdisjoint(roots.tolist())


def _mean_squares(
    model: Model, readers: list[tuple[ir.Node, WeightAxis]], evidence: Evidence
) -> dict[tuple[str, int], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """E[x²] for each place of the axes that are read."""
    walk = Walk(model, affordable(evidence.samples, model))
    found: dict[tuple[str, int], np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {}
    for node, reads in readers:
        walk.to(node)
        means = [
            np.square(np.moveaxis(data, reads.data_axis, -1).reshape(-1, data.shape[reads.data_axis]), dtype=np.float64)
            .mean(axis=0)
            for data in walk.here(reads.data)
        ]  # fmt: skip
        found[str(reads.data.name), reads.data_axis] = np.mean(means, axis=0)
    return found


def _shares(
    model: Model,
    dependencies: Dependencies,
    reader: WeightAxis,
    squares: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> dict[int, float]:
    """For each set of channels its part of the energy that reaches the reader's output."""
    weights = content_of(model, str(reader.weights.name))
    others = tuple(axis for axis in range(weights.ndim) if axis != reader.axis % weights.ndim)
    norms = np.square(weights).sum(axis=others)
    # A grouped convolution has one place of its weights for a place of each of its groups.
    energy = squares * np.tile(norms, squares.size // norms.size)
    roots = dependencies.roots(str(reader.data.name), reader.data_axis)
    assert roots is not None
    found: dict[int, float] = defaultdict(float)
    for root, part in zip(roots.tolist(), (energy / max(energy.sum(), 1e-30)).tolist(), strict=True):
        found[root] += part
    return found
