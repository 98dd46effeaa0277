"""What is found out about an artifact: what it is and how long it takes, and what it shows on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.core.evidence import Measurement, Metric, PrecisionProof
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.pipeline.measure import Arrays

__all__ = ["Judgement", "Showing", "Times", "Trial"]


@dataclass(frozen=True)
class Times:
    """How long an artifact takes, beside what it was timed against.

    Attributes:
        artifact: the measurement whose latency and ratio count.
        baseline, default: the float artifact in the same run; and the same left to the runtime's own choices.
        dense_ratio: its time ÷ that of the original model in the same precision; None where that was compiled.
        filled_ratio: its time ÷ that of the same network before its weights were thinned out; None where they were not.
    """

    artifact: Measurement
    baseline: Measurement | None
    default: Measurement | None
    dense_ratio: float | None
    filled_ratio: float | None


@dataclass(frozen=True)
class Trial:
    """One plan, compiled and run.

    Attributes:
        plan: what was asked for; the artifact's own also names the layers that the back end kept out of it.
        times: by the clock that a choice goes by.
        golden: its answers to the golden samples.
        selection: the metrics that a choice may look at; empty without data.
    """

    plan: QuantPlan
    artifact: Artifact
    proof: PrecisionProof
    times: Times
    golden: Arrays
    selection: tuple[Metric, ...]

    @property
    def precision(self) -> Precision:
        """What the plan is called."""
        return self.plan.precision


@dataclass(frozen=True)
class Judgement:
    """The quality of an artifact on a split.

    Attributes:
        metrics: the gated one first.
        confusion: for each output with class labels, rows of counts: truth by predicted class.
    """

    metrics: tuple[Metric, ...]
    confusion: Mapping[str, list[list[int]]]


@dataclass(frozen=True)
class Showing:
    """What the chosen artifact showed on one device.

    Attributes:
        judgement: on the report split, or an excerpt of it, from this device's answers.
        times: there; beside the float artifact where the device's clock counts.
        agreement: its answers held against those of this host, on the same samples; empty on the host itself.
        golden_sqnr: the same for the golden samples, in dB, of the worst output; None on the host itself.
    """

    judgement: Judgement
    times: Times
    agreement: tuple[Metric, ...] = ()
    golden_sqnr: float | None = None
