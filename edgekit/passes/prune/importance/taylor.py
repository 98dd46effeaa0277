"""By how much the loss would change without a channel, to first order (Molchanov et al., CVPR 2019, arXiv:1906.10771).

The derivative with respect to a mask over a channel is the sum of gradient × weight over the weights that read it; its
square, averaged over batches, is the importance. The gradients come from TensorFlow through `edgekit.lowering`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edgekit.core.types import permutation
from edgekit.ir.model import Model
from edgekit.ir.run import batches
from edgekit.passes.prune.dependencies import Dependencies, Role
from edgekit.passes.prune.importance import Evidence, Scores, content_of, on_channels, ranks_by

__all__ = ["taylor"]

_BATCH = 16


@ranks_by("taylor")
def taylor(model: Model, dependencies: Dependencies, evidence: Evidence) -> Scores:
    """The mean over batches of (Σ gradient × weight)².

    The loss is cross-entropy against the labels of an output, or, for a classifier without labels, against its own
    prediction; any other output counts by the mean of its squares.

    Raises:
        UsageError: there are no samples.
        UnsupportedOpError: the network can't be lowered to TensorFlow.
    """
    from edgekit.lowering.registry import require_supported

    evidence.require_samples("taylor")
    require_supported(model)
    readers = [[m for m in group.members if m.role is Role.READS] for group in dependencies.groups]
    weights = {member.name: content_of(model, member.name) for members in readers for member in members}
    totals = [np.zeros(group.size) for group in dependencies.groups]
    batches = 0
    for gradients in _gradients(model, sorted(weights), evidence):
        change = {name: gradients[name] * weights[name] for name in weights}
        for at, members in enumerate(readers):
            totals[at] += np.square(np.sum([on_channels(member, change[member.name]) for member in members], axis=0))
        batches += 1
    return tuple(total / batches for total in totals)


def _gradients(model: Model, names: list[str], evidence: Evidence) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    """Of the loss with respect to each constant of `names`, batch by batch."""
    from edgekit.lowering import lazy_tf as tf
    from edgekit.lowering.module import LoweredModule

    module = LoweredModule(model)
    softmax = {str(value.name) for value in model.graph.outputs if _ends_in(value, "Softmax")}
    variables = [module.weights[name] for name in names]
    orders = [
        permutation(logical.layout, lowered.layout, len(lowered.shape))
        for logical, lowered in zip(model.inputs, module.inputs, strict=True)
    ]
    shapes = {spec.name: spec.shape for spec in model.inputs}
    begin = 0
    for part in batches(shapes, evidence.samples, _BATCH):
        rows = slice(begin, begin := begin + len(next(iter(part.values()))))
        feeds = [
            tf.constant(np.transpose(part[spec.name], order)) for spec, order in zip(model.inputs, orders, strict=True)
        ]
        with tf.GradientTape() as tape:
            losses = [
                _loss(output, evidence.targets.get(spec.name), rows, is_probability=spec.name in softmax)
                for output, spec in zip(module(*feeds), model.outputs, strict=True)
            ]
            loss = tf.add_n(losses)
        found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        yield {name: np.asarray(each, np.float64) for name, each in zip(names, found, strict=True)}


def _loss(output: Any, targets: np.ndarray[Any, Any] | None, rows: slice, *, is_probability: bool) -> Any:
    """The loss of one output; see `taylor`."""
    from edgekit.lowering import lazy_tf as tf

    labels = targets[rows] if targets is not None and targets.ndim == 1 and targets.dtype.kind in "iu" else None
    if len(output.shape) != 2 or output.shape[1] == 1:
        return tf.reduce_mean(tf.square(output))
    wanted = tf.argmax(output, axis=1) if labels is None else tf.constant(labels)
    logits = tf.math.log(output + 1e-7) if is_probability else output
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))


def _ends_in(value: Any, op: str) -> bool:
    node = value.producer()
    return node is not None and node.op_type == op
