"""Regression: explained variance (R²), mean squared and mean absolute error, against targets or the input itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.metrics.figure import Figure
from edgekit.data.metrics.intervals import paired_mean
from edgekit.data.spec import bad_data

__all__ = ["reconstruction_figures", "target_figures"]

# A network that explains less of its input's variance is none that gives its input back.
_EXPLAINED = 50.0


def target_figures(reference: NDArray[Any], answer: NDArray[Any], targets: NDArray[Any]) -> list[Figure]:
    """The figures of a regression, R² (in points) first.

    R² is what the gate goes by: an error has the data's own unit, a point of R² is 1 % of the targets' variance
    whatever that unit, so one default limit serves every model.

    Args:
        reference, answer, targets: (n, …), the same shape.

    Raises:
        InvalidInputError: all targets are equal.
    """
    n = len(targets)
    truth = targets.reshape(n, -1).astype(np.float64)
    variance = float(np.mean((truth - truth.mean(axis=0)) ** 2))
    if variance == 0:
        raise bad_data(
            f"all {n} targets are equal; no metric tells a good model from a constant one",
            "Add samples with other targets, or add --no-labels to judge by the float model's answers instead.",
        )
    before, after = (output.reshape(n, -1).astype(np.float64) - truth for output in (reference, answer))
    squared = (before**2).mean(axis=1), (after**2).mean(axis=1)
    absolute = np.abs(before).mean(axis=1), np.abs(after).mean(axis=1)
    explained = 100 * (1 - squared[0] / variance), 100 * (1 - squared[1] / variance)
    return [
        _mean("r2", "points", explained, higher_is_better=True),
        _mean("mse", "", squared, higher_is_better=False),
        _mean("mae", "", absolute, higher_is_better=False),
    ]


def reconstruction_figures(reference: NDArray[Any], answer: NDArray[Any], inputs: NDArray[Any]) -> list[Figure]:
    """The figures of an auto-encoder, whose target is its input; none where the float model is no auto-encoder.

    Args:
        reference, answer, inputs: (n, …), the same shape.
    """
    if not np.ptp(inputs.reshape(len(inputs), -1), axis=0).any():
        return []
    figures = target_figures(reference, answer, inputs)
    explained = figures[0].float or 0.0
    return [replace(f, name=f"reconstruction_{f.name}") for f in figures] if explained >= _EXPLAINED else []


def _mean(name: str, unit: str, pair: tuple[NDArray[Any], NDArray[Any]], *, higher_is_better: bool) -> Figure:
    before, after = pair
    interval = paired_mean(before - after)
    values = float(after.mean()), float(before.mean())
    return Figure(name, unit, len(before), *values, interval, higher_is_better)
