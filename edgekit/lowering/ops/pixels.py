"""DepthToSpace and SpaceToDepth, in NHWC."""

from __future__ import annotations

import numpy as np

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers
from edgekit.lowering.shuffle import from_crd, is_shuffled_behind

__all__: list[str] = []


@lowers("DepthToSpace")
def depth_to_space(node: Node, x: Laid) -> Laid:
    """Blocks of channels become blocks of pixels. TFLite reads the channels as (block, block, C): ONNX's DCR.

    For CRD (C, block, block), PyTorch's PixelShuffle, the channels are put in that order: in the weights of the
    convolution in front, where that feeds nothing else.
    """
    source, block = x.to(channels_last(4)), node.integer("blocksize")
    value, producer = source.value, node.producer()
    if node.text("mode", "DCR") == "CRD" and not (producer and is_shuffled_behind(producer)):
        value = tf.gather(value, from_crd(node).astype(np.int32), axis=3)
    return Laid(tf.nn.depth_to_space(value, block), node.output_shape, source.order)


@lowers("SpaceToDepth")
def space_to_depth(node: Node, x: Laid) -> Laid:
    """Blocks of pixels become blocks of channels."""
    source = x.to(channels_last(4))
    return Laid(tf.nn.space_to_depth(source.value, node.integer("blocksize")), node.output_shape, source.order)
