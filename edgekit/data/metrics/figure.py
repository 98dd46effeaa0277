"""Figure: a metric's value for both models, before it is told which split and machine it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.evidence import EvidenceKind, Metric
from edgekit.data.metrics.intervals import Interval

__all__ = ["Figure", "as_metric", "points"]


@dataclass(frozen=True)
class Figure:
    """One figure of quality.

    Attributes:
        name, unit: as in Metric.
        n: number of samples.
        artifact: the artifact's value.
        float: the float model's, or None where the artifact is compared with the float model itself.
        interval: 95 %, of float − artifact, or of `artifact` where `float` is None; None where undefined.
        higher_is_better: the direction.
    """

    name: str
    unit: str
    n: int
    artifact: float
    float: float | None = None
    interval: Interval | None = None
    higher_is_better: bool = True


def as_metric(figure: Figure, *, split: str, where: str, kind: EvidenceKind) -> Metric:
    """The figure in the vocabulary of reports."""
    return Metric(
        name=figure.name,
        unit=figure.unit,
        higher_is_better=figure.higher_is_better,
        split=split,
        n=figure.n,
        float=figure.float,
        artifact=figure.artifact,
        drop=None if figure.float is None else figure.float - figure.artifact,
        ci95=figure.interval,
        kind=kind,
        where=where,
    )


def points(interval: Interval | None) -> Interval | None:
    """An interval of shares (0..1) in points (0..100)."""
    return None if interval is None else (100 * interval[0], 100 * interval[1])
