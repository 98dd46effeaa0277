"""A run over sequences, taken apart: what quantizers, metrics and golden files want of it.

A model with recurrent state is fed (sequences, steps, …) at every input but the states and (sequences, …) at each
state, which is what the sequences start from. It answers (sequences, steps, …) at every output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import States

__all__ = ["excerpt", "judged", "single_steps"]

_Arrays = Mapping[str, NDArray[Any]]


def excerpt(samples: _Arrays, states: States, *, most: int, steps: int) -> dict[str, NDArray[Any]]:
    """The first samples; of sequences, their first steps."""
    single = {source for source, _ in states} if states else set(samples)
    return {name: values[:most] if name in single else values[:most, :steps] for name, values in samples.items()}


def single_steps(
    samples: _Arrays, answers: _Arrays, states: States, *, most: int, seed: int
) -> dict[str, NDArray[Any]]:
    """Single steps with the states that they began with, as (n, …) arrays: what a quantizer calibrates on.

    The states are those that the float model itself came to ("teacher forcing", Williams and Zipser 1989), so every
    step is one that occurs, and each stands for itself.

    Args:
        samples: what the float model was fed.
        answers: its answers.
        states: its states.
        most: the largest n; of more steps some are drawn, wherever in a sequence they stand.
        seed: of the draw.
    """
    feeding = dict(states)
    began = {
        name: np.concatenate([values[:, None], answers[feeding[name]][:, :-1]], axis=1) if name in feeding else values
        for name, values in samples.items()
    }
    flat = {name: _flat(values) for name, values in began.items()}
    total = len(next(iter(flat.values())))
    if total <= most:
        return flat
    chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    return {name: values[chosen] for name, values in flat.items()}


def judged(answers: _Arrays, targets: _Arrays | None, states: States) -> dict[str, NDArray[Any]]:
    """The answers that metrics look at, as (n, …) arrays: every step, or the last one where a target is for a sequence.

    Without states these are the answers as they are.
    """
    if not states:
        return dict(answers)
    sequences = len(next(iter(answers.values())))
    if any(len(values) == sequences for values in (targets or {}).values()):
        return {name: values[:, -1] for name, values in answers.items()}
    return {name: _flat(values) for name, values in answers.items()}


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """(sequences, steps, …) as (sequences × steps, …)."""
    return values.reshape(-1, *values.shape[2:])
