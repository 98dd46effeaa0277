"""The losses: least where they should be, and deaf to a teacher that is wrong by the label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.passes.recover.heads import Head, Kind
from edgekit.passes.recover.losses import distillation, label_shares, supervision


def test_losses_are_least_where_they_should_be() -> None:
    logits = _tensor(np.random.default_rng(0).normal(size=(6, 4)))
    for kind in ("softmax", "sigmoid", "values"):
        head = Head("y", kind, "y")
        assert abs(float(distillation(head, logits, logits, 3.0))) < 1e-6
        assert float(distillation(head, _tensor([1.0, 0, 0, 0]) + logits, logits, 3.0)) > 1e-3
    sharp = _tensor(np.eye(4) * 50)
    assert float(supervision(Head("y", "softmax", "y"), sharp, _given([0, 1, 2, 3]))) < 1e-6
    assert float(supervision(Head("y", "softmax", "y"), sharp, _given([0, 1, 2, 0]))) > 10
    assert float(supervision(Head("y", "softmax", "y"), sharp, _given([0, 1, 2, 255]))) < 1e-6


@pytest.mark.parametrize(
    ("kind", "taught", "labels", "wanted"),
    [
        ("softmax", [[3, 0, 0], [0, 2, 1], [0, 1, 2]], [0, 1, 1], [0.25, 0.25, 1]),
        ("softmax", [[[3, 0], [0, 2]], [[1, 0], [1, 0]]], [[0, 0], [255, 1]], [0.25, 1, 0.25, 1]),
        ("softmax", [[3, 0, 0], [0, 1, 2]], [[0.7, 0.3, 0], [0, 0.6, 0.4]], [0.25, 1]),
        ("softmax", [[[[3, 0, 0]]], [[[0, 2, 1]]]], [0, 2], [0.25, 1]),
        ("sigmoid", [[3], [-1], [-1]], [1, 0, 1], [0.25, 0.25, 1]),
        ("sigmoid", [[[3], [-1]], [[2], [2]]], [[1, 1], [0, 255]], [0.25, 1, 1, 0.25]),
        ("sigmoid", [[3, -1], [2, -2]], [[1.0, 0.9], [0.2, 0.0]], [0.25, 1, 1, 0.25]),
    ],
    ids=["classes", "map", "mixed", "spread", "yes or no", "map of yes or no", "several at once"],
)
def test_the_label_alone_counts_where_the_teacher_is_wrong(
    kind: Kind, taught: Any, labels: Any, wanted: list[float]
) -> None:
    np.testing.assert_allclose(label_shares(Head("y", kind, "y"), _tensor(taught), _given(labels), 0.25), wanted)


@pytest.mark.parametrize("wrong", [[9, 0, 0], [0, 1, 9]])
def test_what_a_wrong_teacher_says_makes_no_difference(wrong: list[float]) -> None:
    head, logits, labels = Head("y", "softmax", "y"), _tensor([[1, 0.5, 0], [0.2, 0, 1]]), _given([0, 1])
    taught = _tensor([[3, 1, 0], wrong])
    shares = label_shares(head, taught, labels, 0.25)
    loss = supervision(head, logits, labels, shares) + distillation(head, logits, taught, 2.0, 1 - shares)
    first, second = (supervision(head, logits[row : row + 1], labels[row : row + 1]) for row in (0, 1))
    told = distillation(head, logits[:1], taught[:1], 2.0)
    np.testing.assert_allclose(loss, (0.25 * first + 0.75 * told + second) / 2, rtol=1e-5)


def _given(labels: Any) -> Any:
    """As samples have them: classes are whole numbers, shares of them floats."""
    import tensorflow as tf

    return tf.constant(np.asarray(labels, np.uint8 if isinstance(np.ravel(labels)[0], np.integer) else np.float32))


def _tensor(numbers: Any) -> Any:
    import tensorflow as tf

    return tf.constant(np.asarray(numbers), tf.float32)
