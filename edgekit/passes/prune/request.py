"""How to prune: what the pipeline asks of the stage. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pruning"]


@dataclass(frozen=True)
class Pruning:
    """How to prune.

    Attributes:
        prune: the share of the MACs that goes, between 0 and 1; None where `kept` says it.
        importance: the measure's name.
        schedule: "uniform" or "global".
        steps: in how many steps, each of which measures anew and lets the layers take over what has gone.
        multiple: what counts of channels are kept multiples of.
        kept: of each step how many channels of each group stay: a choice that was made before.
    """

    prune: float | None
    importance: str
    schedule: str
    steps: int
    multiple: int
    kept: tuple[tuple[int, ...], ...] = ()
