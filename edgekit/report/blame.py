"""What `edgekit explain DIR` shows, as data: which layers int8 breaks, by what, and what is left of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.core.sensitivity import Cost, LayerCost, LayerRanges, Outlier, Sensitivity, own_worst
from edgekit.core.types import Precision, QuantPlan

__all__ = ["Blame", "BlamedLayer", "OpRow", "TargetBlame", "culprit", "ranked"]

# Bytes of a constant.
_BYTES = {Precision.INT8: 1, Precision.DYNAMIC: 1, Precision.FP16: 2, Precision.FP32: 4}


@dataclass(frozen=True)
class OpRow:
    """An operator that the runtime executed.

    Attributes:
        op: its type, as the runtime calls it.
        names: what the artifact calls it.
        layer: the layer that it is of; None where the artifact doesn't say.
        us: microseconds of an inference.
        share: of the sum of all.
    """

    op: str
    names: tuple[str, ...]
    layer: str | None
    us: float
    share: float


@dataclass(frozen=True)
class BlamedLayer:
    """A layer, and what its int8 costs the network as it came: before anything was done for int8's sake.

    Attributes:
        layer, op: as in `LayerCost`.
        precision: what the build gave it.
        blame: which of its parts costs more: "weights" or "output".
        cost: of that part alone.
        left: what that costs in the network that was compiled; None where it was not looked at.
        weights, output: the cost of each part alone; None for weights where it has none.
        whole: the cost of all of it, with what it reads.
        weights_range, weights_outliers, output_range, output_outliers: as in `LayerRanges`.
        bytes_share: of the artifact's constants, 0..1.
        macs_share: of the network's multiply-accumulates.
        time_share: of what its operators take; None where that is not known.
    """

    layer: str
    op: str
    precision: str
    blame: str
    cost: Cost
    left: Cost | None
    weights: Cost | None
    output: Cost
    whole: Cost
    weights_range: tuple[float, float] | None
    weights_outliers: tuple[Outlier, ...]
    output_range: tuple[float, float]
    output_outliers: tuple[Outlier, ...]
    bytes_share: float
    macs_share: float
    time_share: float | None


@dataclass(frozen=True)
class TargetBlame:
    """What int8 does to the network of one target's artifact.

    Attributes:
        samples: how many each cost was judged on; `labelled` says whether against the truth, `synthetic` whether
            there were none but made-up ones.
        naive: all layers int8 at once, as nobody would do it, in the network as it came.
        repaired: the same in the network that was compiled; None where that is the one that came.
        layers: the worst first.
        ops: what the runtime took for each operator; empty where it doesn't say. `note` says why, or how fine it is.
        total_us: of all of them, in microseconds.
        runtime: that took it, and `where`.
    """

    target: str
    backend: str
    precision: str
    samples: int
    labelled: bool
    synthetic: bool
    naive: Cost
    repaired: Cost | None
    layers: tuple[BlamedLayer, ...]
    ops: tuple[OpRow, ...]
    total_us: float
    note: str
    runtime: str
    where: str


@dataclass(frozen=True)
class Blame:
    """The targets of a build."""

    schema_version: int
    folder: str
    targets: tuple[TargetBlame, ...]


def culprit(cost: LayerCost) -> tuple[str, Cost]:
    """Which part of a layer costs more, and what."""
    weights = cost.weights
    return ("weights", weights) if weights and weights.sqnr_db < cost.output.sqnr_db else ("output", cost.output)


def ranked(
    found: Sensitivity, compiled: Mapping[str, LayerCost], plan: QuantPlan, times: Mapping[str, float]
) -> tuple[BlamedLayer, ...]:
    """The layers, the worst first: by the SQNR that is left when the worse of its parts alone is int8.

    Args:
        found: of the network as it came.
        compiled: costs in the network that was compiled, by layer, of those that were looked at.
        plan: what the artifact was to be.
        times: each layer's share of the time, where it is known.
    """
    # What has no weights is never dynamic.
    given, other = dict(plan.layers), Precision.FP32 if plan.default is Precision.DYNAMIC else plan.default
    sizes = [ranges.params * _BYTES.get(given.get(ranges.layer, other), 4) for ranges in found.ranges]
    macs = sum(ranges.macs for ranges in found.ranges)
    rows = [
        _row(
            cost,
            ranges,
            (size / max(sum(sizes), 1), ranges.macs / max(macs, 1)),
            after=compiled.get(cost.layer),
            precision=str(given.get(cost.layer, other)),
            times=times,
        )
        for cost, ranges, size in zip(found.layers, found.ranges, sizes, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda at: own_worst(found.layers[at]))
    return tuple(rows[at] for at in order)


def _row(
    cost: LayerCost,
    ranges: LayerRanges,
    shares: tuple[float, float],
    *,
    after: LayerCost | None,
    precision: str,
    times: Mapping[str, float],
) -> BlamedLayer:
    blame, worse = culprit(cost)
    return BlamedLayer(
        layer=cost.layer,
        op=cost.op,
        precision=precision,
        blame=blame,
        cost=worse,
        left=None if after is None else after.weights if blame == "weights" else after.output,
        weights=cost.weights,
        output=cost.output,
        whole=Cost(cost.sqnr_db, cost.agreement, cost.drop),
        weights_range=ranges.weights,
        weights_outliers=ranges.weight_outliers,
        output_range=ranges.output,
        output_outliers=ranges.output_outliers,
        bytes_share=shares[0],
        macs_share=shares[1],
        time_share=times.get(cost.layer, 0.0) if times else None,
    )
