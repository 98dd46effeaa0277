"""Operators that mix the elements of an axis: it stays whole, because each of its elements counts."""

from __future__ import annotations

import numpy as np

from edgekit.passes.prune.rules import NodeChannels, channel_rule

__all__: list[str] = []

_WHOLE = "mixes all of them"
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"


@channel_rule(*(f"Reduce{kind}" for kind in _REDUCTIONS.split()))
def _reduce(node: NodeChannels) -> None:
    data, listed, flags = node.channels(0), node.constant(1), node.node.attributes
    axes = _positive(listed, len(data))
    if node.has(1) and listed is None:
        node.freeze_all(why="reduces axes that its data decide")
        return
    if not axes and not flags.get_int("noop_with_empty_axes", 0):
        axes = set(range(len(data)))
    node.freeze(*(data[axis] for axis in axes), why=_WHOLE)
    keep = flags.get_int("keepdims", 1)
    node.give([None if axis in axes else data[axis] for axis in range(len(data)) if keep or axis not in axes])


@channel_rule("ArgMax", "ArgMin")
def _arg(node: NodeChannels) -> None:
    data, flags = node.channels(0), node.node.attributes
    along = flags.get_int("axis", 0) % len(data)
    node.freeze(data[along], why=_WHOLE)
    keep = flags.get_int("keepdims", 1)
    node.give([None if axis == along else data[axis] for axis in range(len(data)) if keep or axis != along])


@channel_rule("LogSoftmax", "Softmax")
def _softmax(node: NodeChannels) -> None:
    data = list(node.channels(0))
    along = node.node.attributes.get_int("axis", -1)
    node.freeze(data[along], why=_WHOLE)
    data[along] = None
    node.give(data)


@channel_rule("LayerNormalization", "RMSNormalization")
def _layer_norm(node: NodeChannels) -> None:
    """The statistics are of all axes from `axis` on."""
    data = node.channels(0)
    first = node.node.attributes.get_int("axis", -1) % len(data)
    node.freeze(*data[first:], why=_WHOLE)
    for index in range(1, len(node.node.inputs)):
        node.freeze(*node.channels(index), why=_WHOLE)
    node.give([*data[:first], *[None] * (len(data) - first)])


@channel_rule("LpNormalization")
def _lp_normalization(node: NodeChannels) -> None:
    data = list(node.channels(0))
    along = node.node.attributes.get_int("axis", -1)
    node.freeze(data[along], why=_WHOLE)
    data[along] = None
    node.give(data)


def _positive(axes: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None, rank: int) -> set[int]:
    return {int(axis) % rank for axis in axes.ravel()} if axes is not None else set()
