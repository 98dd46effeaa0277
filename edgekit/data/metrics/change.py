"""What a change inside a network does to its answers, in three figures and no intervals: for what is asked often."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import TensorSpec
from edgekit.data.label_maps import class_axis
from edgekit.data.metrics.classification import classify
from edgekit.data.metrics.fidelity import activation_of, sqnr_figures
from edgekit.data.metrics.regression import target_figures
from edgekit.data.metrics.segmentation import label_maps, segmentation_figures
from edgekit.data.targets import class_count

__all__ = ["change_figures"]

_Array = NDArray[Any]
_Arrays = Mapping[str, _Array]


def change_figures(
    reference: _Arrays,
    answers: _Arrays,
    targets: _Arrays,
    outputs: Sequence[TensorSpec],
    *,
    activations: Mapping[str, str | None],
    rounded: Collection[str] = (),
) -> tuple[float, float | None, float | None]:
    """SQNR in dB, agreement of the classes and drop of the metric in points; each of the output that it is worst for.

    Args:
        reference: the answers before the change, (n, …) an output name.
        answers: those after it.
        targets: what is true, as `evaluate` takes it, where that is known; empty without labels.
        outputs: those that count.
        activations: what each output ends in.
        rounded: outputs that the change is at themselves. Probabilities that were rounded are compared as they are,
            not by the logits behind them: one that is next to nothing may become nothing.

    Returns:
        None for an agreement where outputs are no classes, and for a drop without labels.
    """
    ratios, agreements, drops = [], [], []
    for spec in outputs:
        before, after = reference[spec.name], answers[spec.name].reshape(reference[spec.name].shape)
        activation = activations.get(spec.name) or activation_of(before)
        ratios.append(sqnr_figures(before, after, None if spec.name in rounded else activation)[0].artifact)
        truth = targets.get(spec.name)
        if _is_classifier(spec, before, activation, truth):
            agreements.append(100 * float((classify(after, like=before) == classify(before)).mean()))
        if truth is not None:
            drops.append(_drop(before, after, truth, spec))
    return min(ratios), min(agreements, default=None), max(drops, default=None)


def _is_classifier(spec: TensorSpec, before: _Array, activation: str | None, truth: _Array | None) -> bool:
    if truth is not None:
        return truth.dtype == np.int64
    return bool(activation) and class_count(spec) == (2 if activation == "sigmoid" else before[0].size)


def _drop(before: _Array, after: _Array, truth: _Array, spec: TensorSpec) -> float:
    """Of top-1, of mean intersection over union, or of R², in points."""
    if truth.dtype == np.uint8:
        axis = class_axis(spec, truth.shape)
        maps = label_maps(before, axis), label_maps(after, axis, like=before)
        figure = segmentation_figures(*maps, truth, seed=0)[0]
    elif truth.dtype.kind == "f":
        figure = target_figures(before, after, truth)[0]
    else:
        right = classify(before) == truth, classify(after, like=before) == truth
        return 100 * float(right[0].mean() - right[1].mean())
    return (figure.float or 0.0) - figure.artifact
