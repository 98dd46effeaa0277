"""How much each channel matters: one measure a file, all with one signature, found by name.

A measure is a function of the Model, its channel groups and the evidence at hand. It answers with one array a group,
(channels,), not negative; the least important channels have the smallest figures. Figures of different groups are
compared relative to their group's mean, so their scale is free.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.core.errors import UsageError
from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies, Member

__all__ = ["Evidence", "Importance", "Scores", "content_of", "importance", "importances", "on_channels", "ranks_by"]

Scores = tuple["np.ndarray[Any, np.dtype[np.float64]]", ...]


@dataclass(frozen=True)
class Evidence:
    """What is known besides the weights.

    Attributes:
        samples: calibration inputs by name, (samples, …) each; empty where there are none.
        targets: labels by output, (samples,) each, in the order of `samples`; empty where there are none.
        seed: of whatever is random.
    """

    samples: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    targets: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    seed: int = 0

    def require_samples(self, name: str) -> None:
        """Raise for a measure that needs samples where there are none.

        Raises:
            UsageError: names the measure.
        """
        if not self.samples:
            raise UsageError(
                f"the importance {name} is measured on calibration samples, and there are none",
                blame="the command line",
                remedy="Give data with --data D, or rank by weights alone: --importance l2",
            )


Importance = Callable[[Model, Dependencies, Evidence], Scores]

_MEASURES: dict[str, Importance] = {}


def ranks_by(name: str) -> Callable[[Importance], Importance]:
    """Register the decorated measure under `name`."""

    def register(measure: Importance) -> Importance:
        if name in _MEASURES:
            raise ValueError(f"there is an importance {name} already: {_MEASURES[name].__module__}")
        _MEASURES[name] = measure
        return measure

    return register


def importances() -> tuple[str, ...]:
    """The names of all measures."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(sorted(_MEASURES))


def importance(name: str) -> Importance:
    """The measure called `name`.

    Raises:
        UsageError: there is none; names those that there are.
    """
    known = importances()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"there is no importance {name}",
            blame="the command line",
            remedy=f"{f'Did you mean {close[0]}? ' if close else ''}Take one of: {', '.join(known)}",
        )
    return _MEASURES[name]


def content_of(model: Model, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A constant of the Model."""
    constant = model.graph.initializers[name].const_value
    assert constant is not None
    return constant.numpy().astype(np.float64)


def on_channels(member: Member, content: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The sum over `content`, which has the shape of the member's constant, for each channel of its group."""
    others = tuple(axis for axis in range(content.ndim) if axis != member.axis % content.ndim)
    summed: np.ndarray[Any, np.dtype[np.float64]] = content.sum(axis=others)[member.channels].sum(axis=1)
    return summed
