"""The pass: each layer's weights share the values of a code book, times the scale of their output channel.

int8 gives each output channel a scale of its own, so that weights which are equal in two channels become two integers.
Therefore what is clustered is a weight's ratio to the largest of its channel, by k-means in which it counts with the
square of that scale: the squared error is the weights' own. The outermost centres are one value and its negative, and
one of them is met in every channel: so each channel's int8 scale is the same multiple of its scale here, and the whole
layer has no more than k different integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.ir.model import Model
from edgekit.passes.cluster.k_means import k_means, nearest
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.layer_weights import LayerWeights, layer_weights, require_weights, set_weights

__all__ = ["ClusterWeights", "CodeBook", "code_books", "keep_code_books", "require_clusters"]

_KEY = "edgekit.code_book"
_LEAST, _MOST = 3, 256


@dataclass(frozen=True)
class CodeBook:
    """Weights as indices: they are `scales * centres[index]`, but for rounding.

    Attributes:
        centres: (k,), ascending; 0 is among them where the layer has zeros.
        scales: one for each output channel, in a shape that the weights' shape broadcasts.
        index: of each weight, in their shape. A trainer that moves centres adds up the gradients of equal indices.
    """

    centres: np.ndarray[Any, np.dtype[np.float64]]
    scales: np.ndarray[Any, np.dtype[np.float64]]
    index: np.ndarray[Any, np.dtype[np.uint8]]

    @property
    def weights(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What the layer multiplies by."""
        values: np.ndarray[Any, np.dtype[np.float32]] = (self.scales * self.centres[self.index]).astype(np.float32)
        return values


def require_clusters(k: int) -> None:
    """Raise for a size of code books that makes no sense.

    Raises:
        UsageError: it is not from 3 to 256.
    """
    if not _LEAST <= k <= _MOST:
        raise UsageError(
            f"the weights of a layer can share from {_LEAST} to {_MOST} values, not {k}",
            blame="the command line",
            remedy="Give for example 16, which needs 4 bits a weight.",
        )


class ClusterWeights(Pass):
    """Gives the weights of each layer at most `clusters` values a channel. What is zero stays zero. Biases stay."""

    name: ClassVar[str] = "cluster-weights"
    keeps_function: ClassVar[bool] = False

    def __init__(self, clusters: int) -> None:
        """How many values, 0 among them where a layer has zeros.

        Raises:
            UsageError: fewer than 3, or more than 256.
        """
        require_clusters(clusters)
        self._clusters = clusters

    def requires(self, model: Model) -> None:
        """There are weights."""
        require_weights(model)

    def call(self, model: Model) -> PassResult:
        """Cluster each layer."""
        layers = [weights for weights in require_weights(model) if weights.content.any()]
        for weights in layers:
            book = _clustered(weights, self._clusters)
            set_weights(model, weights.constant, book.weights)
            _note(model, weights.constant, book.centres)
        return PassResult(model, len(layers))


def code_books(model: Model) -> Mapping[str, CodeBook]:
    """The code book of each clustered layer, by the name of the constant.

    Raises:
        InvalidInputError: weights that were changed since they were clustered.
    """
    found = {}
    for weights in layer_weights(model):
        note = model.graph.initializers[weights.constant].metadata_props.get(_KEY)
        if note is None:
            continue
        centres, content = np.array(json.loads(note)["centres"]), weights.content.astype(np.float64)
        scales = _scales(content, weights.made) / centres[-1]
        book = CodeBook(centres, scales, nearest(content / scales, centres).astype(np.uint8))
        if not np.allclose(book.weights, content, rtol=1e-4, atol=1e-6 * np.abs(content).max()):
            raise InvalidInputError(
                f"the weights of {weights.layer} are not those of their code book: something changed them since",
                blame="a pass after clustering",
                remedy="Cluster last.",
            )
        found[weights.constant] = book
    return found


def keep_code_books(before: Model, after: Model) -> None:
    """Note in `after` the code books of `before`, with the centres that they have come to.

    Args:
        before: where the weights are those of their code books.
        after: the same layers with other weights, of which those of one centre moved together.

    Raises:
        InvalidInputError: the weights of `before` are not those of their code books.
    """
    books = code_books(before)
    for weights in layer_weights(after):
        book = books.get(weights.constant)
        if book is None:
            continue
        ratios = weights.content.astype(np.float64) / _scales(weights.content, weights.made)
        members = np.bincount(book.index.ravel())
        sums = np.bincount(book.index.ravel(), ratios.ravel())
        # The ends are there in any case: the scales of channels go by them.
        _note(after, weights.constant, np.unique([-1.0, *(sums / members)[members > 0], 1.0]))


def _note(model: Model, constant: str, centres: np.ndarray[Any, Any]) -> None:
    note = json.dumps({"centres": centres.tolist()})
    model.graph.initializers[constant].metadata_props[_KEY] = note


def _clustered(weights: LayerWeights, k: int) -> CodeBook:
    content = weights.content.astype(np.float64)
    scales = _scales(content, weights.made)
    ratios, mass, live = content / scales, np.broadcast_to(scales**2, content.shape), content != 0
    if live.all():
        centres = k_means(ratios.ravel(), mass.ravel(), k)
        return CodeBook(centres, scales, nearest(ratios, centres).astype(np.uint8))
    others = k_means(ratios[live], mass[live], k - 1)
    centres = np.unique(np.append(others, 0.0))
    values = np.where(live, others[nearest(ratios, others)], 0.0)
    return CodeBook(centres, scales, np.searchsorted(centres, values).astype(np.uint8))


def _scales(content: np.ndarray[Any, Any], made: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The largest |w| of each output channel; 1 for a channel of zeros."""
    tops = np.abs(content).max(axis=tuple(at for at in range(content.ndim) if at != made % content.ndim), keepdims=True)
    return np.where(tops > 0, tops, 1.0)
