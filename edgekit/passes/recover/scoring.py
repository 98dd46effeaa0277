"""One figure for how good the weights are, so that epochs can be compared; the loss decides between equal ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.passes.recover.heads import Head
from edgekit.passes.recover.samples import Array

__all__ = ["Score", "score"]

_IGNORED = 255
_LIMIT = 1e-12


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        metric: "top1" against labels or "agreement" with the teacher, in points; else "sqnr" in dB, against targets or
            the teacher. With several outputs, their mean.
        value: higher is better.
        loss: lower is better.
    """

    metric: str
    value: float
    loss: float

    @property
    def is_finite(self) -> bool:
        """Whether both are numbers."""
        return bool(np.isfinite(self.value) and np.isfinite(self.loss))

    def beats(self, other: Score) -> bool:
        """Whether it is better than `other`."""
        return self.is_finite and (self.value, -self.loss) > (other.value, -other.loss)


def score(
    heads: Sequence[Head],
    answers: Mapping[str, Array],
    targets: Mapping[str, Array],
    taught: Mapping[str, Array],
    loss: float,
) -> Score:
    """The score of `answers`, the logits by output.

    Args:
        heads: what the outputs are.
        answers: the student's logits, (n, …) an output, the classes of a softmax last.
        targets: what is true, where it is known.
        taught: the teacher's logits.
        loss: on the same samples.
    """
    labelled = [head for head in heads if head.kind != "values" and _are_classes(targets.get(head.output))]
    if labelled:
        figures = [_accuracy(head, answers[head.output], targets[head.output]) for head in labelled]
        return Score("top1", float(np.mean(figures)), loss)
    if not targets and len(heads) == 1 and heads[0].kind != "values":
        wanted = _classes(heads[0], taught[heads[0].output])
        return Score("agreement", 100 * float((_classes(heads[0], answers[heads[0].output]) == wanted).mean()), loss)
    ratios = []
    for head in heads:
        known = targets.get(head.output)
        true = known if known is not None and known.dtype.kind == "f" and head.kind == "values" else None
        ratios.append(_sqnr(head, answers[head.output], taught[head.output] if true is None else true))
    return Score("sqnr", float(np.mean(ratios)), loss)


def _accuracy(head: Head, logits: Array, targets: Array) -> float:
    found = _classes(head, logits).ravel()
    wanted = targets.ravel()
    counted = wanted != _IGNORED if targets.dtype == np.uint8 else np.ones(len(wanted), bool)
    return 100 * float((found == wanted)[counted].mean())


def _classes(head: Head, logits: Array) -> Array:
    return np.asarray(logits.argmax(-1) if head.kind == "softmax" else logits > 0)


def _sqnr(head: Head, values: Array, wanted: Array) -> float:
    """Signal ÷ error, in dB; logits count without their mean, which a softmax does not see."""
    wanted = np.asarray(wanted, np.float64).reshape(values.shape)
    error = wanted - values
    if head.kind == "softmax":
        wanted, error = wanted - wanted.mean(-1, keepdims=True), error - error.mean(-1, keepdims=True)
    signal = float(np.square(wanted).mean())
    return 10 * float(np.log10((signal + _LIMIT) / (float(np.square(error).mean()) + _LIMIT)))


def _are_classes(targets: Array | None) -> bool:
    return targets is not None and targets.dtype.kind in "iu"
