"""Losses: cross-entropy with labels, and distillation from the teacher's answers, each on the logits of a head.

Soft labels: KL divergence at a temperature, times its square (Hinton et al., 2015, arXiv:1503.02531). Values: the mean
squared error as a share of the teacher's power, the inverse of a signal-to-noise ratio, so that outputs of any scale
count alike. Where the teacher is wrong by the label, the label alone counts (Meng et al., 2019, arXiv:1904.12399).

A place is what has one label: a sample, a pixel of a label map, or each class behind a sigmoid.
"""

from __future__ import annotations

from typing import Any

from edgekit.lowering import lazy_tf as tf
from edgekit.passes.recover.heads import Head

__all__ = ["distillation", "label_shares", "relative_error", "supervision"]

_IGNORED = 255
_FLOOR = 1e-12


def label_shares(head: Head, taught: Any, targets: Any, share: float) -> Any:
    """The labels' share of the loss, place by place (places,), or one for all where outputs are values.

    It is `share` where the teacher's logits `taught` are for what the labels say, or nothing is said, and 1 elsewhere.
    """
    if head.kind == "values":
        return share
    if targets.dtype.is_floating:
        targets = tf.reshape(targets, tf.shape(taught))
        wanted = tf.argmax(targets, -1) if head.kind == "softmax" else targets > 0.5
        ignored = False
    else:
        wanted = tf.cast(targets, tf.int64)
        ignored = tf.reshape(wanted, (-1,)) == _IGNORED
        wanted = wanted if head.kind == "softmax" else wanted > 0
    answered = tf.argmax(taught, -1) if head.kind == "softmax" else taught > 0
    right = tf.reshape(answered, (-1,)) == tf.reshape(wanted, (-1,))
    return tf.where(right | ignored, share, 1.0)


def supervision(head: Head, logits: Any, targets: Any, shares: Any = 1.0) -> Any:
    """The loss against labels.

    Args:
        head: what the output is.
        logits: (n, …), the classes of a softmax last.
        targets: whole numbers: classes (n,) or label maps (n, …); or floats in the shape of the logits: values, or
            shares of the classes.
        shares: how much they count, as `label_shares` gives it, or a number.
    """
    if head.kind == "values":
        return shares * relative_error(logits, tf.reshape(targets, tf.shape(logits)))
    if targets.dtype.is_floating:
        targets = tf.reshape(targets, tf.shape(logits))
        if head.kind == "softmax":
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        return tf.reduce_mean(tf.reshape(losses, (-1,)) * shares)
    counted = tf.reshape(tf.not_equal(tf.cast(targets, tf.int32), _IGNORED), (-1,))
    labels = tf.where(counted, tf.reshape(tf.cast(targets, tf.int32), (-1,)), 0)
    if head.kind == "softmax":
        rows = tf.reshape(logits, (-1, logits.shape[-1]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, rows)
    else:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), tf.reshape(logits, (-1,)))
    weights = tf.cast(counted, tf.float32)
    return tf.reduce_sum(losses * weights * shares) / tf.maximum(tf.reduce_sum(weights), 1.0)


def distillation(head: Head, logits: Any, taught: Any, temperature: float, shares: Any = 1.0) -> Any:
    """The loss against the teacher's logits `taught`, in the same shape, which count `shares`; 0 where both agree."""
    if head.kind == "values":
        return shares * relative_error(logits, taught)
    scaled, soft = logits / temperature, taught / temperature
    if head.kind == "softmax":
        share = tf.nn.log_softmax(soft)
        divergence = tf.reduce_sum(tf.exp(share) * (share - tf.nn.log_softmax(scaled)), -1)
    else:
        share = tf.sigmoid(soft)
        divergence = tf.nn.sigmoid_cross_entropy_with_logits(share, scaled)
        divergence -= tf.nn.sigmoid_cross_entropy_with_logits(share, soft)
    return temperature**2 * tf.reduce_mean(tf.reshape(divergence, (-1,)) * shares)


def relative_error(values: Any, wanted: Any) -> Any:
    """The mean squared error ÷ the mean square of what is wanted."""
    return tf.reduce_mean(tf.square(values - wanted)) / (tf.reduce_mean(tf.square(wanted)) + _FLOOR)
