"""Sequences out of named arrays: the samples of a model with recurrent state.

Every input but the states comes as (sequences, steps, …), and each step is read like a single sample. A state may come
too, as (sequences, …): what each sequence starts from, zeros where it doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import TensorSpec
from edgekit.data.arrays import from_arrays
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data
from edgekit.data.targets import from_keys

__all__ = ["from_sequences"]

_Arrays = Mapping[str, NDArray[Any]]


def from_sequences(arrays: _Arrays, request: Request, *, name: str, notes: Sequence[str] = ()) -> Source:
    """Sequences from arrays whose first axis counts them, and whose second counts their steps.

    Args:
        arrays: as `from_arrays` takes them, with the step axis behind the first one; a state's own key, without that
            axis, has initial values. A target whose second axis is as long as the steps has one entry a step, any
            other one a sequence.
        request: what the model takes, with its states.
        name: the data argument, for messages.
        notes: what was assumed so far.

    Raises:
        InvalidInputError: what `from_arrays` refuses, an array without the step axis, sequences of no steps, initial
            values that don't fit, or targets of both kinds.
    """
    inputs = tuple(spec for spec in request.inputs if spec.name not in request.states)
    keys = _keys(arrays, inputs)
    sizes = {key: _sizes(arrays[key], spec, name, key) for key, spec in keys.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{key} {count} × {steps}" for key, (count, steps) in sizes.items())
        raise bad_data(f"{name}: the inputs differ in sequences × steps ({told})", "Give each input as many.")
    # Without a key that feeds an input, `from_arrays` says what is missing.
    count, steps = next(iter(sizes.values()), (0, 0))
    stepwise, whole = _targets(arrays, request, count, steps, name) if sizes else ([], {})
    flat = {key: arrays[key].reshape(count * steps, *arrays[key].shape[2:]) for key in (*keys, *stepwise)}
    by_step = from_arrays(
        {key: flat.get(key, values) for key, values in arrays.items() if key not in whole},
        replace(request, inputs=inputs, states=()),
        name=name,
        name_of=lambda row: f"sequence {row // steps}, step {row % steps}",
        notes=notes,
    )
    initial = {
        spec.name: _initial(arrays.get(spec.name), spec, count, name)
        for spec in request.inputs
        if spec.name in request.states
    }

    def read(index: int) -> dict[str, NDArray[np.float32]]:
        rows = [by_step.read(index * steps + step) for step in range(steps)]
        sequence = {spec.name: np.stack([row[spec.name] for row in rows]) for spec in inputs}
        return {s.name: sequence[s.name] if s.name in sequence else initial[s.name][index] for s in request.inputs}

    return replace(
        by_step,
        ids=[f"sequence {index}" for index in range(count)],
        read=read,
        targets={**by_step.targets, **from_keys(whole, request.outputs, count=count, name=name)},
        steps=steps,
    )


def _keys(arrays: _Arrays, inputs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    """The keys that feed inputs, of those that are there."""
    keys = {spec.name: spec for spec in inputs if spec.name in arrays}
    return keys or ({"x": inputs[0]} if len(inputs) == 1 and "x" in arrays else {})


def _sizes(array: NDArray[Any], spec: TensorSpec, name: str, key: str) -> tuple[int, int]:
    """How many sequences of how many steps an array has.

    Axes of size 1 may be missing from a step, but not where the array could as well be single samples.
    """
    wanted = spec.sample_shape
    missing = len(wanted) + 2 - array.ndim
    if missing > sum(size == 1 for size in wanted) or (missing > 0 and array.shape[1] == 1) or array.ndim < 2:
        shape = ", ".join(map(str, ("sequences", "steps", *wanted)))
        raise bad_data(
            f"{name}: {key!r} has shape {array.shape}; a model with state takes sequences, ({shape})",
            f"One recording in its order is one sequence: {key}[None]; several of 50 steps each: "
            f"{key}.reshape(-1, 50, {', '.join(map(str, array.shape[1:])) or 1}). Samples that don't follow each other "
            f"are sequences of one step: {key}[:, None].",
        )
    if 0 in array.shape[:2]:
        what = "no sequences" if array.shape[0] == 0 else "sequences of no steps"
        raise bad_data(f"{name}: {key!r} holds {what} (shape {array.shape})", "Give at least one step each.")
    return array.shape[0], array.shape[1]


def _targets(
    arrays: _Arrays, request: Request, count: int, steps: int, name: str
) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """The keys of targets with an entry for each step; and the targets of whole sequences."""
    if not request.labelled:
        return [], {}
    keys = [key for key in ("y", *(f"y_{spec.name}" for spec in request.outputs)) if key in arrays]
    stepwise = [key for key in keys if arrays[key].shape[:2] == (count, steps)]
    whole = {key: arrays[key] for key in keys if key not in stepwise}
    if stepwise and whole:
        raise bad_data(
            f"{name}: {stepwise[0]!r} has an entry for each step, {next(iter(whole))!r} one for each sequence",
            "Give all targets for each step, or all for each sequence; the latter are judged at its last step.",
        )
    return stepwise, whole


def _initial(values: NDArray[Any] | None, spec: TensorSpec, count: int, name: str) -> NDArray[np.float32]:
    """What each sequence starts from: (sequences, …) in the state's shape."""
    shape = (count, *spec.sample_shape)
    if values is None:
        return np.zeros(shape, np.float32)
    if values.shape != shape or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise bad_data(
            f"{name}: the initial state {spec.name!r} should be finite numbers of shape {shape}, one state a sequence; "
            f"it is {values.dtype} of shape {values.shape}",
            "Repair it, or leave it out: the sequences then start from zeros.",
        )
    return values.astype(np.float32)
