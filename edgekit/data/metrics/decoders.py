"""From a detector's outputs to boxes: the outputs that say it all by themselves, and the user's own decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import TensorSpec
from edgekit.data.metrics.boxes import Found, from_centres, non_maximum_suppression
from edgekit.data.spec import bad_data

__all__ = ["Decoder", "decoder", "is_decoder", "plain_detector", "run_decoder"]

Arrays = Mapping[str, NDArray[Any]]
Decoder = Callable[[Arrays], Found]

_MARK = "edgekit_decoder"
# So many of the float model's boxes must be boxes; some anchors may answer nonsense where nothing is.
_MOST = 0.99


def decoder(function: Decoder) -> Decoder:
    """Mark `function(outputs)` as a decoder, so that `--metric module:function` judges a detector by its boxes.

    It gets a dict of arrays (n, …) by output name, and gives for each of the n images rows
    (x1, y1, x2, y2, score, class), the best first: what `non_maximum_suppression` gives.
    """
    setattr(function, _MARK, True)
    return function


def is_decoder(function: Any) -> bool:
    """Whether `decoder` marked it."""
    return bool(getattr(function, _MARK, False))


def run_decoder(spec: str, function: Decoder, outputs: Arrays) -> list[NDArray[np.float64]]:
    """The boxes that the user's decoder finds in `outputs`.

    Raises:
        InvalidInputError: it fails, or answers something else than boxes.
    """
    n = len(next(iter(outputs.values())))
    remedy = "Give for each image an array of rows (x1, y1, x2, y2, score, class): see docs/metrics.md"
    try:
        found = [np.asarray(boxes, np.float64).reshape(-1, 6) for boxes in function(outputs)]
    except Exception as error:
        raise bad_data(f"the decoder {spec} failed: {type(error).__name__}: {error}", remedy) from error
    if len(found) != n:
        raise bad_data(f"the decoder {spec} gave boxes for {len(found)} images of {n}", remedy)
    for index, boxes in enumerate(found):
        label = boxes[:, 5]
        if not np.isfinite(boxes).all() or not ((label == np.floor(label)) & (label >= 0) & (label < 1 << 16)).all():
            raise bad_data(f"the decoder {spec} gave NaN, infinity or no class of 0..65535 for image {index}", remedy)
    return [boxes[np.argsort(-boxes[:, 4], kind="stable")] for boxes in found]


def plain_detector(outputs: Sequence[TensorSpec], reference: Arrays) -> Decoder | None:
    """The decoder of a network whose outputs need none, or None.

    That is: one output of boxes (n, anchors, 4), as corners or as centre and size, and one of as many scores within
    0..1, (n, anchors, classes), or (n, classes, anchors) as ONNX's NonMaxSuppression takes them. Scores that add up to
    1 have the background in front. Offsets from anchors are no boxes: their anchors are in no file.

    Args:
        outputs: the model's outputs.
        reference: the float model's answers, which tell what the numbers are.
    """
    pair = _boxes_and_scores(outputs)
    if pair is None:
        return None
    boxes, scores, first_axis = pair
    corners = _are_corners(reference[boxes])

    def scored(answers: Arrays) -> NDArray[Any]:
        return answers[scores].transpose(0, 2, 1) if first_axis else answers[scores]

    values = scored(reference)
    if corners is None or not ((values >= 0) & (values <= 1)).all():
        return None
    background = int(values.shape[2] > 1 and np.allclose(values.sum(axis=2), 1, atol=1e-3))

    def decode(answers: Arrays) -> Found:
        found = answers[boxes] if corners else from_centres(answers[boxes])
        return non_maximum_suppression(found, scored(answers)[..., background:])

    return decode


def _boxes_and_scores(outputs: Sequence[TensorSpec]) -> tuple[str, str, bool] | None:
    """The names of the two, and whether the scores have their classes before their anchors."""
    rows = [spec for spec in outputs if len(spec.shape) == 3]
    pairs = [
        (boxes.name, scores.name, boxes.shape[1] != scores.shape[1])
        for boxes in rows
        for scores in rows
        if boxes is not scores and boxes.shape[2] == 4 and boxes.shape[1] in scores.shape[1:]
    ]
    return pairs[0] if len(pairs) == 1 else None


def _are_corners(boxes: NDArray[Any]) -> bool | None:
    """True for corners, False for centre and size, None for neither."""
    if ((boxes[..., 2:] > boxes[..., :2]).all(axis=-1)).mean() >= _MOST:
        return True
    return False if ((boxes[..., 2:] > 0).all(axis=-1)).mean() >= _MOST else None
