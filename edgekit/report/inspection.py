"""What `edgekit inspect` shows, as data: the layers of a Model with their cost, and what each target can't take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core.plain import to_json
from edgekit.core.types import TensorSpec

if TYPE_CHECKING:
    from edgekit.ir.cost import ModelCost
    from edgekit.ir.model import Model

__all__ = ["Fusion", "Inspection", "LayerRow", "TargetFit", "UnsupportedLayer", "inspect_model"]


@dataclass(frozen=True)
class LayerRow:
    """One layer.

    Attributes:
        name: the layer.
        op: its operator.
        shape: shape of its first output for a batch of 1.
        params: parameters that it brings.
        macs: multiply-accumulates.
        macs_share: its share of the model's MACs, 0..1.
        live_bytes: activation memory while it runs.
        unsupported_by: targets that can't take it.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    params: int
    macs: int
    macs_share: float
    live_bytes: int
    unsupported_by: tuple[str, ...]


@dataclass(frozen=True)
class UnsupportedLayer:
    """A layer that a target can't take, and what to do about it."""

    layer: str
    op: str
    remedy: str


@dataclass(frozen=True)
class TargetFit:
    """What a target can't take of the fused model; nothing when it takes all of it.

    Attributes:
        target: its name.
        unsupported: the layers.
        memory_bytes: all the memory that the target has, or None where its file doesn't say.
    """

    target: str
    unsupported: tuple[UnsupportedLayer, ...]
    memory_bytes: int | None = None

    @property
    def takes_all(self) -> bool:
        """Whether the whole model can go there."""
        return not self.unsupported


@dataclass(frozen=True)
class Fusion:
    """What fusion makes of the model: the graph that is compiled.

    Attributes:
        nodes_before, nodes_after: how many nodes it had, and has.
        peak_bytes: its largest activation memory.
        rules: every rule with how often it fired.
    """

    nodes_before: int
    nodes_after: int
    peak_bytes: int
    rules: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Inspection:
    """A model at a glance.

    Attributes:
        inputs, outputs: the model's specs.
        layers: as imported, in graph order.
        params, macs, weight_bytes: totals.
        peak_bytes, peak_layer: the largest activation memory, and the layer where it is needed.
        ops: how many layers of each operator, the most frequent first.
        targets: how the model fits each target that was asked about.
        fusion: how it is fused before it is compiled; None where that was not looked at.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[LayerRow, ...]
    params: int
    macs: int
    weight_bytes: int
    peak_bytes: int
    peak_layer: str
    ops: tuple[tuple[str, int], ...]
    targets: tuple[TargetFit, ...]
    fusion: Fusion | None = None

    @property
    def unsupported(self) -> tuple[UnsupportedLayer, ...]:
        """Everything that some target can't take."""
        return tuple(layer for fit in self.targets for layer in fit.unsupported)

    def to_json(self) -> dict[str, Any]:
        """The inspection as plain JSON types; `ops` and `fusion.rules` as objects."""
        fusion = self.fusion and {**to_json(self.fusion), "rules": dict(self.fusion.rules)}
        return {**to_json(self), "ops": dict(self.ops), "fusion": fusion}


def inspect_model(
    model: Model,
    unsupported: Mapping[str, Sequence[tuple[str, str, str]]] | None = None,
    *,
    memory: Mapping[str, int | None] | None = None,
    fusion: Fusion | None = None,
) -> Inspection:
    """Inspect `model`; runs and converts nothing.

    Args:
        model: the Model.
        unsupported: for each target's name what its back end's `Backend.unsupported` says: (layer, op, remedy) each.
        memory: for a target's name the bytes of memory that it has.
        fusion: what fusion makes of the model.
    """
    from edgekit.ir.cost import model_cost

    fits = tuple(
        TargetFit(target, tuple(UnsupportedLayer(*each) for each in found), (memory or {}).get(target))
        for target, found in (unsupported or {}).items()
    )
    cost = model_cost(model)
    return Inspection(
        inputs=model.inputs,
        outputs=model.outputs,
        layers=_rows(cost, fits),
        params=cost.params,
        macs=cost.macs,
        weight_bytes=cost.weight_bytes,
        peak_bytes=cost.peak_bytes,
        peak_layer=cost.peak_layer,
        ops=_histogram(cost),
        targets=fits,
        fusion=fusion,
    )


def _rows(cost: ModelCost, fits: Sequence[TargetFit]) -> tuple[LayerRow, ...]:
    refused_by: dict[str, list[str]] = {}
    for fit in fits:
        for layer in fit.unsupported:
            refused_by.setdefault(layer.layer, []).append(fit.target)
    return tuple(
        LayerRow(
            name=layer.name,
            op=layer.op,
            shape=layer.outputs[0] if layer.outputs else (),
            params=layer.params,
            macs=layer.macs,
            macs_share=layer.macs / cost.macs if cost.macs else 0.0,
            live_bytes=layer.live_bytes,
            unsupported_by=tuple(dict.fromkeys(refused_by.get(layer.name, ()))),
        )
        for layer in cost.layers
    )


def _histogram(cost: ModelCost) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for layer in cost.layers:
        counts[layer.op] = counts.get(layer.op, 0) + 1
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
