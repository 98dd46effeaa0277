"""Matrix products: an axis that is summed over meets its partner; the others go on."""

from __future__ import annotations

from edgekit.passes.prune.rules import NodeChannels, broadcast, channel_rule

__all__: list[str] = []


@channel_rule("MatMul")
def _matmul(node: NodeChannels) -> None:
    """(…, m, k) × (…, k, n)."""
    left, right = node.channels(0), node.channels(1)
    if len(left) < 2 or len(right) < 2:
        node.freeze_all(why="multiplies a vector")
        return
    node.meet(left[-1], right[-2])
    shapes = (node.shape(0)[:-2], node.shape(1)[:-2])
    front = broadcast(node, (left[:-2], right[:-2]), shapes) if any(shapes) else []
    node.give([*front, left[-2], right[-1]])


@channel_rule("Gemm")
def _gemm(node: NodeChannels) -> None:
    flags = node.node.attributes
    left, right = node.channels(0), node.channels(1)
    if flags.get_int("transA", 0):
        left = left[::-1]
    if flags.get_int("transB", 0):
        right = right[::-1]
    node.meet(left[1], right[0])
    made = [left[0], right[1]]
    if node.has(2):
        made = broadcast(node, (made, node.channels(2)), (node.output_shape(), node.shape(2)))
    node.give(made)
