"""What training must not undo in a network that was thinned out: zeros, and weights that share a value.

After each step of the optimizer the weights go to the nearest ones of their form. Of zeros that is zero. Of a code book
it is the product of a scale for each output channel and a centre for each index, by a round of alternating least
squares: all weights of a centre move together. Deep Compression (Han et al., ICLR 2016, arXiv:1510.00149) adds up the
gradients of a centre instead; the mean of the steps suits any optimizer. Weights of the form stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgekit.ir.model import Model
from edgekit.lowering import lazy_tf as tf
from edgekit.passes.cluster.clustering import CodeBook, code_books
from edgekit.passes.sparsify.masks import Mask, masks

__all__ = ["restoring"]

_LEAST = 1e-4  # of the largest scale


def restoring(model: Model, variables: Mapping[str, Any]) -> Callable[[], None]:
    """A step that takes variables back to the form that the model's weights have.

    Args:
        model: the network before training.
        variables: what is trained, by the name of the initializer, in its shape.

    Raises:
        InvalidInputError: the weights of `model` are not those of their code books.
    """
    books = code_books(model)
    found = {name: _of_code_book(book) for name, book in books.items()}
    found |= {name: _of_mask(mask) for name, mask in masks(model).items() if name not in books}
    kept = [(variable, found[name]) for name, variable in variables.items() if name in found]

    def restore() -> None:
        for variable, nearest in kept:
            variable.assign(nearest(variable))

    return restore


def _of_mask(mask: Mask) -> Callable[[Any], Any]:
    return lambda weights: weights * tf.constant(mask, tf.float32)


def _of_code_book(book: CodeBook) -> Callable[[Any], Any]:
    """The nearest weights to some others that are of the form of a code book with the same indices.

    The outermost centres are one value and its negative, so they count as one; those between stay within it.
    """
    outermost, channels = book.centres.size - 1, book.scales.size
    # Zeros have no part in it: of a sparse layer few weights are left to compute with.
    places = np.flatnonzero(book.centres[book.index])
    index = book.index.ravel()[places].astype(np.int32)
    sign = np.where(index == 0, -1, 1).astype(np.float32)
    index[index == 0] = outermost
    numbers = np.arange(channels, dtype=np.int32).reshape(book.scales.shape)
    channel = np.broadcast_to(numbers, book.index.shape).ravel()[places]
    top = (index == outermost).astype(np.float32)

    def nearest(weights: Any) -> Any:
        values = tf.gather(tf.reshape(weights, (-1,)), places) * sign
        scales = _scales(_fitted(values, top, channel, channels))
        centres = _fitted(values, tf.gather(scales, channel), index, outermost + 1)
        shared = tf.gather(tf.clip_by_value(centres, -centres[outermost], centres[outermost]), index)
        scales = _scales(_fitted(values, shared, channel, channels))
        result = tf.scatter_nd(places[:, None], tf.gather(scales, channel) * shared * sign, (book.index.size,))
        return tf.reshape(result, book.index.shape)

    return nearest


def _fitted(values: Any, factors: Any, segments: np.ndarray[Any, Any], count: int) -> Any:
    """Of each segment the number whose products with `factors` are nearest to `values`; 0 of an empty one."""
    product, square = (tf.math.unsorted_segment_sum(by * factors, segments, count) for by in (values, factors))
    return tf.math.divide_no_nan(product, square)


def _scales(found: Any) -> Any:
    """All of one sign, and none that would make zeros of what is none."""
    return tf.maximum(found, _LEAST * tf.reduce_max(found))
