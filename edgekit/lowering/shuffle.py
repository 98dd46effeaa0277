"""PixelShuffle: which channels of a convolution are put in TFLite's order for the DepthToSpace behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.lowering.node import Node

__all__ = ["from_crd", "is_shuffled_behind", "shuffled_outputs"]


def is_shuffled_behind(conv: Node) -> bool:
    """Whether `conv` is a Conv that feeds a DepthToSpace in CRD mode, and nothing else."""
    users = conv.consumers()
    return (
        conv.op == "Conv"
        and conv.integer("group", 1) == 1
        and not conv.is_output
        and len(users) == 1
        and users[0].op == "DepthToSpace"
        and users[0].text("mode", "DCR") == "CRD"
    )


def shuffled_outputs(conv: Node) -> np.ndarray[Any, Any] | None:
    """The order in which `conv` gives its output channels, or None for its own."""
    return from_crd(conv.consumers()[0]) if is_shuffled_behind(conv) else None


def from_crd(node: Node) -> np.ndarray[Any, Any]:
    """For each channel that a DCR DepthToSpace reads, the channel that a CRD one would: (C, b, b) to (b, b, C)."""
    block, channels = node.integer("blocksize"), node.shape()[1]
    assert channels is not None
    return np.arange(channels).reshape(-1, block, block).transpose(1, 2, 0).ravel()
