"""ConvTranspose, 1-D and 2-D: TFLite's TRANSPOSE_CONV, or a convolution over an image spread out with zeros."""

from __future__ import annotations

from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last, reshaped
from edgekit.lowering.node import Node
from edgekit.lowering.registry import lowers
from edgekit.lowering.window import Window, as_image, from_image, refuse_convolution

__all__: list[str] = []


@lowers("ConvTranspose", refuse=refuse_convolution)
def conv_transpose(node: Node, x: Laid, weight: Laid, bias: Laid | None = None) -> Laid:
    """The gradient of a convolution, in NHWC. The kernel is (in, out / groups, spatial…) in ONNX.

    TRANSPOSE_CONV knows neither groups nor dilation; for these the image is stretched by its strides with zeros, and
    convolved with the kernel turned around.
    """
    window = Window.transposed(node, kernel=node.shape(1)[2:])
    image = as_image(x.to(channels_last(x.rank)).value, x.rank)
    kernel = weight.value if x.rank == 4 else tf.expand_dims(weight.value, 2)
    groups = node.integer("group", 1)
    plain = groups == 1 and max(window.dilations) == 1
    result = _transposed(image, kernel, window) if plain else _stretched(image, kernel, groups, window)
    if bias is not None:
        result = tf.nn.bias_add(result, bias.value) if groups == 1 else result + bias.value
    return Laid(from_image(result, x.rank), node.output_shape, channels_last(x.rank))


def _transposed(image: Any, kernel: Any, window: Window) -> Any:
    """TRANSPOSE_CONV; what the padding cuts off is cut off behind it where it is not TensorFlow's SAME."""
    channels = kernel.shape[1]
    kernel = tf.transpose(kernel, (2, 3, 1, 0))
    batch = image.shape[0] if image.shape[0] is not None else tf.shape(image)[0]
    # The window of the convolution that this one is the gradient of slides over our output.
    if window.is_same:
        return tf.nn.conv2d_transpose(image, kernel, (batch, *window.sizes, channels), window.strides, "SAME")
    reach = [(window.outputs[i] - 1) * window.strides[i] + window.kernel[i] for i in range(2)]
    full = [max(reach[i], window.begin[i] + window.sizes[i]) for i in range(2)]
    # VALID can take up to a stride more than the windows reach; a wider border is padding.
    valid = [min(full[i], reach[i] + window.strides[i] - 1) for i in range(2)]
    result = tf.nn.conv2d_transpose(image, kernel, (batch, *valid, channels), window.strides, "VALID")
    return _cropped(result, window.begin, [window.begin[i] + window.sizes[i] - valid[i] for i in range(2)])


def _stretched(image: Any, kernel: Any, groups: int, window: Window) -> Any:
    """A convolution at stride 1 over the image with `stride − 1` zeros between its pixels."""
    image = _with_zeros_between(image, window.strides)
    before = [(window.kernel[i] - 1) * window.dilations[i] - window.begin[i] for i in range(2)]
    length = [(window.outputs[i] - 1) * window.strides[i] + 1 for i in range(2)]
    after = [window.sizes[i] + (window.kernel[i] - 1) * window.dilations[i] - length[i] - before[i] for i in range(2)]
    image = _cropped(image, [-size for size in before], after)
    inputs, outputs, height, width = kernel.shape.as_list()
    kernel = tf.reshape(tf.reverse(kernel, (2, 3)), (groups, inputs // groups, outputs, height, width))
    if groups == inputs and max(window.dilations) == 1:
        kernel = tf.transpose(tf.squeeze(kernel, 1), (2, 3, 0, 1))
        return tf.nn.depthwise_conv2d(image, kernel, (1, 1, 1, 1), "VALID")
    kernel = tf.reshape(tf.transpose(kernel, (3, 4, 1, 0, 2)), (height, width, inputs // groups, groups * outputs))
    return tf.nn.conv2d(image, kernel, 1, "VALID", dilations=window.dilations)


def _with_zeros_between(image: Any, strides: tuple[int, int]) -> Any:
    batch, height, width, channels = image.shape.as_list()
    for axis, stride in ((1, strides[0]), (2, strides[1])):
        if stride == 1:
            continue
        flat = reshaped(
            image, (batch, height, 1, width * channels) if axis == 1 else (batch, height * width, 1, channels)
        )
        spread = tf.pad(flat, [[0, 0], [0, 0], [0, stride - 1], [0, 0]])
        height, width = (height * stride, width) if axis == 1 else (height, width * stride)
        image = reshaped(spread, (batch, height, width, channels))
    return image[:, : height - strides[0] + 1, : width - strides[1] + 1, :] if max(strides) > 1 else image


def _cropped(image: Any, begin: list[int] | tuple[int, int], after: list[int]) -> Any:
    """The image without its first `begin` rows and columns, and with `after` more behind; negative: the other way."""
    _, height, width, _ = image.shape.as_list()
    size = [height, width]
    low = [max(begin[i], 0) for i in range(2)]
    high = [size[i] + min(after[i], 0) for i in range(2)]
    if any(low) or high != size:
        image = image[:, low[0] : high[0], low[1] : high[1], :]
    edges = [(max(-begin[i], 0), max(after[i], 0)) for i in range(2)]
    return tf.pad(image, [(0, 0), *edges, (0, 0)]) if any(map(any, edges)) else image
