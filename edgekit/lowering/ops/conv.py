"""Conv, 1-D and 2-D, plain, grouped and depthwise."""

from __future__ import annotations

from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers
from edgekit.lowering.shuffle import shuffled_outputs
from edgekit.lowering.window import Window, as_image, from_image, refuse_convolution

__all__: list[str] = []


@lowers("Conv", refuse=refuse_convolution)
def conv(node: Node, x: Laid, weight: Laid, bias: Laid | None = None) -> Laid:
    """Conv in NHWC. The kernel is (out, in / groups, spatial…) in ONNX; SAME where the padding equals it."""
    window = Window.of(node, kernel=node.shape(1)[2:])
    image = as_image(x.to(channels_last(x.rank)).value, x.rank)
    kernel = weight.value if x.rank == 4 else tf.expand_dims(weight.value, 2)
    groups, channels = node.integer("group", 1), node.shape()[1]
    padding, image = window.padded(image)
    shuffled = shuffled_outputs(node)
    if shuffled is not None:
        kernel = tf.gather(kernel, shuffled, axis=0)
    if groups == channels and groups > 1:
        result = _depthwise(image, kernel, window, padding)
    else:
        result = tf.nn.conv2d(
            image, tf.transpose(kernel, (2, 3, 1, 0)), window.strides, padding, dilations=window.dilations
        )
    if bias is not None:
        vector = bias.value if shuffled is None else tf.gather(bias.value, shuffled)
        # Some of TensorFlow's CPU kernels know no grouped convolution fused with a BiasAdd; a plain sum stays apart.
        result = tf.nn.bias_add(result, vector) if groups == 1 else result + vector
    return Laid(from_image(result, x.rank), node.output_shape, channels_last(x.rank))


def _depthwise(image: Any, kernel: Any, window: Window, padding: str) -> Any:
    """One filter bank a channel: kernel (C·M, 1, H, W) as TensorFlow's (H, W, C, M)."""
    outputs, _, height, width = kernel.shape.as_list()
    groups = image.shape[-1]
    kernel = tf.reshape(tf.transpose(kernel, (2, 3, 0, 1)), (height, width, groups, outputs // groups))
    if max(window.dilations) == 1 and window.strides[0] == window.strides[1]:
        return tf.nn.depthwise_conv2d(image, kernel, (1, *window.strides, 1), padding)
    # TensorFlow's depthwise kernel knows neither unequal strides nor dilation; TFLite's grouped convolution does both.
    kernel = tf.reshape(kernel, (height, width, 1, outputs))
    return tf.nn.conv2d(image, kernel, window.strides, padding, dilations=window.dilations)
