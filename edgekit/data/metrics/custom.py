"""The user's own metric: any function of all outputs and targets, with a paired bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.metrics.figure import Figure
from edgekit.data.metrics.intervals import bootstrap
from edgekit.data.spec import bad_data

__all__ = ["custom_figure"]

_Arrays = Mapping[str, NDArray[Any]]


def custom_figure(
    spec: str,
    function: Callable[..., Any],
    checked: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    targets: _Arrays,
    seed: int,
) -> Figure:
    """The metric `function`, called as (outputs, targets) with dicts of arrays by output name.

    Its attributes `higher_is_better` (default True) and `unit` (default "") are respected.

    Args:
        spec: what the user calls it, `module:function`.
        function: the metric.
        checked: the float model's and the artifact's answers, by output name.
        targets: the truth, by output name; empty without labels.
        seed: of the bootstrap.

    Raises:
        InvalidInputError: it fails, or returns no finite number.
    """
    n = len(next(iter(checked.values()))[0])
    everything = np.arange(n)

    def value(which: int, rows: NDArray[np.int64]) -> float:
        return _call(spec, function, {k: pair[which][rows] for k, pair in checked.items()}, targets, rows)

    interval = bootstrap(lambda rows: value(0, rows) - value(1, rows), n, seed=seed)
    return Figure(
        name=spec.partition(":")[2],
        unit=str(getattr(function, "unit", "")),
        higher_is_better=bool(getattr(function, "higher_is_better", True)),
        n=n,
        artifact=value(1, everything),
        float=value(0, everything),
        interval=interval,
    )


def _call(
    spec: str, function: Callable[..., Any], outputs: _Arrays, targets: _Arrays, rows: NDArray[np.int64]
) -> float:
    try:
        value = float(function(outputs, {name: values[rows] for name, values in targets.items()}))
    except Exception as error:
        raise bad_data(
            f"the metric {spec} failed: {type(error).__name__}: {error}",
            "It is called as function(outputs, targets), two dicts of arrays by output name, and returns a number.",
        ) from error
    if not np.isfinite(value):
        raise bad_data(f"the metric {spec} returned {value}", "Return a finite number for any resampling of the data.")
    return value
