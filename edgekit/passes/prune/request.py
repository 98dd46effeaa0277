"""How to prune: what the pipeline asks of the stage. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LayerTimes", "Pruning", "TimeTable"]


@dataclass(frozen=True)
class TimeTable:
    """What a layer takes at some sizes.

    Attributes:
        sizes: of the axis of its weights that makes channels, and of the one that reads them, if there is one: the
            sizes that were timed, ascending.
        seconds: one figure a combination of sizes, the last axis changing fastest.
    """

    sizes: tuple[tuple[int, ...], ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class LayerTimes:
    """What a clock said of a network and its layers, on one runtime and in one precision.

    Attributes:
        tables: by layer, of those with weights.
        idle: seconds that a network takes which does nothing.
        whole: seconds that the network takes.
    """

    tables: tuple[tuple[str, TimeTable], ...]
    idle: float
    whole: float


@dataclass(frozen=True)
class Pruning:
    """How to prune.

    Attributes:
        prune: the share of the MACs that goes, between 0 and 1; None where `kept` or `times` says it.
        importance: the measure's name.
        schedule: "uniform", "global" or "capacity"; of no account with `times`.
        steps: in how many steps, each of which measures anew and lets the layers take over what has gone.
        multiple: what counts of channels are kept multiples of.
        kept: of each step how many channels of each group stay: a choice that was made before.
        times: what the layers take, where `share` of the network's time is to be left.
        share: that share, between 0 and 1.
        factorize: whether ranks of layers go, instead of channels. `kept` is then the rank of each layer that can be
            split, 0 of one that stays whole; importance "l2" goes by the weights alone.
    """

    prune: float | None
    importance: str
    schedule: str
    steps: int
    multiple: int
    kept: tuple[tuple[int, ...], ...] = ()
    times: LayerTimes | None = None
    share: float | None = None
    factorize: bool = False
