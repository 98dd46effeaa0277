"""From two models' answers on the same samples to the list of metrics, the gated one first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BrokenPromiseError, InvalidInputError
from edgekit.core.evidence import EvidenceKind, Metric
from edgekit.core.types import TensorSpec
from edgekit.data.function import load_function
from edgekit.data.label_maps import class_axis
from edgekit.data.metrics.boxes import Found
from edgekit.data.metrics.classification import label_figures
from edgekit.data.metrics.custom import custom_figure
from edgekit.data.metrics.decoders import is_decoder, plain_detector, run_decoder
from edgekit.data.metrics.detection import box_agreement_figures, detection_figures
from edgekit.data.metrics.fidelity import activation_of, agreement_figures, sqnr_figures
from edgekit.data.metrics.figure import Figure, as_metric
from edgekit.data.metrics.regression import reconstruction_figures, target_figures
from edgekit.data.metrics.segmentation import label_maps, mask_agreement_figures, segmentation_figures
from edgekit.data.objects import OBJECTS
from edgekit.data.spec import bad_data
from edgekit.data.targets import class_count

__all__ = ["evaluate"]

_Arrays = Mapping[str, NDArray[Any]]
_Pairs = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


def evaluate(
    reference: _Arrays,
    answers: _Arrays,
    targets: _Arrays | None,
    outputs: Sequence[TensorSpec],
    *,
    split: str = "report",
    where: str = "",
    kind: EvidenceKind = EvidenceKind.MEASURED,
    custom: str | None = None,
    activations: Mapping[str, str | None] | None = None,
    echoed: _Arrays | None = None,
    steps: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Metric]:
    """The artifact's quality beside the float model's. `docs/metrics.md` defines every figure.

    - With `custom`, `module:function(outputs, targets) -> float` comes first and is gated; it gets all outputs. A
      function marked by `edgekit.metrics.decoder` gives boxes instead, which are judged as below.
    - A detector's boxes give map and map50 against true objects; without, box agreement, recall and overlap against
      the float model's boxes. Plain outputs of boxes and scores need no decoder.
    - An output with class labels gives top1, top5, precision, recall, f1, auc; one with label maps miou and
      pixel_accuracy; one with values r2, mse, mae. Of several such outputs the one with the largest drop comes first.
    - Without targets a classifier's output (softmax, or a single sigmoid) gives agreement, balanced agreement and the
      worst class' agreement; one of class maps mask and pixel agreement; one that gives back the input, the error of
      that.
    - Every output gives its SQNR.

    With several outputs the names end in ":<output>".

    Args:
        reference: the original float model's answers, (n, …) an output name.
        answers: the artifact's, on the same samples.
        targets: int64 class labels (n,), uint8 label maps (n, H, W) or float32 values (n, …) an output name, and under
            "objects" true boxes (n, m, 5); None or empty without labels.
        outputs: the model's outputs.
        split, where, kind: what the metrics say about themselves.
        custom: the user's metric or decoder.
        activations: what each output ends in ("softmax", "sigmoid"); where it says neither, the reference's numbers do.
        echoed: for an output in an input's shape, that input (n, …): an auto-encoder should give it back.
        steps: for each output that the reference rounds, the distance of two neighbours.
        seed: of the bootstrap.

    Raises:
        InvalidInputError: the float model answers NaN, the user's metric fails, or there are objects and no boxes.
        BrokenPromiseError: the artifact answers NaN or infinity, or in another shape or number.
    """
    targets = targets or {}
    checked = {spec.name: _pair(reference, answers, spec) for spec in outputs}
    figures = _custom_or_boxes(custom, checked, targets, outputs, seed)
    judged = [
        _suffixed(_target_figures(*checked[spec.name], targets[spec.name], spec, seed), spec, outputs)
        for spec in outputs
        if spec.name in targets
    ]
    figures += [figure for group in sorted(judged, key=_first_drop, reverse=True) for figure in group]
    for spec in outputs:
        before, after = checked[spec.name]
        activation = (activations or {}).get(spec.name) or activation_of(before)
        axis = _axis_of_shares(before)
        if not judged and OBJECTS not in targets:
            own = _own_figures(before, after, spec, activation, axis, (echoed or {}).get(spec.name), seed)
            figures += _suffixed(own, spec, outputs)
        if axis == 1:
            # Logits are centred over the classes, which come last there.
            before, after, activation = np.moveaxis(before, 1, -1), np.moveaxis(after, 1, -1), "softmax"
        resolution = (steps or {}).get(spec.name, 0.0) / 2
        figures += _suffixed(sqnr_figures(before, after, activation, resolution), spec, outputs)
    # What is gated on unlabelled data goes before SQNR, whichever output has it.
    figures.sort(key=lambda figure: "sqnr" in figure.name)
    return [as_metric(figure, split=split, where=where, kind=kind) for figure in figures]


def _custom_or_boxes(
    custom: str | None, checked: _Pairs, targets: _Arrays, outputs: Sequence[TensorSpec], seed: int
) -> list[Figure]:
    """The user's metric, or what the boxes say where there are some."""
    before, after = ({name: pair[which] for name, pair in checked.items()} for which in (0, 1))
    function = load_function(custom, blame="your metric") if custom else None
    if function and not is_decoder(function):
        return [custom_figure(custom or "", function, checked, targets, seed)]
    found: list[Found]
    if function:
        found = [run_decoder(custom or "", function, answers) for answers in (before, after)]
    elif plain := plain_detector(outputs, before):
        found = [plain(answers) for answers in (before, after)]
    elif OBJECTS in targets:
        raise bad_data(
            "the data has true boxes, and the model's outputs are no plain boxes and scores",
            "Say how its outputs become boxes: --metric module:decoder, as docs/metrics.md shows.",
        )
    else:
        return []
    if OBJECTS in targets:
        return detection_figures(found[0], found[1], targets[OBJECTS], seed=seed)
    return [] if targets else box_agreement_figures(found[0], found[1], seed=seed)


def _own_figures(  # noqa: PLR0917 - all that is known of an output, once
    before: NDArray[Any],
    after: NDArray[Any],
    spec: TensorSpec,
    activation: str | None,
    axis: int | None,
    echoed: NDArray[Any] | None,
    seed: int,
) -> list[Figure]:
    """Without labels: what the output means, its numbers tell."""
    if activation and class_count(spec) == (2 if activation == "sigmoid" else before[0].size):
        return agreement_figures(before, after)
    if axis is None and echoed is not None and (figures := reconstruction_figures(before, after, echoed)):
        return figures
    if axis is None and activation == "sigmoid" and before.ndim == 4:
        axis = next((axis for axis in (3, 1) if before.shape[axis] == 1), None)
    if axis is None:
        return []
    return mask_agreement_figures(label_maps(before, axis), label_maps(after, axis, like=before), seed=seed)


def _axis_of_shares(output: NDArray[Any]) -> int | None:
    """The axis of an image-like output along which probabilities add up to 1: the class of each pixel."""
    if output.ndim != 4 or (output < 0).any():
        return None
    few = output[:8]
    return next(
        (axis for axis in (3, 1) if 1 < few.shape[axis] <= 255 and np.allclose(few.sum(axis=axis), 1, atol=1e-3)), None
    )


def _pair(reference: _Arrays, answers: _Arrays, spec: TensorSpec) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both models' answers at an output, in one shape, finite."""
    before = reference[spec.name]
    after = answers.get(spec.name)
    if after is None or after.size != before.size:
        got = "nothing" if after is None else f"shape {after.shape}"
        raise BrokenPromiseError(
            f"the artifact answered {got} at output {spec.name!r}, the float model shape {before.shape}",
            blame="the back end",
            remedy="Build with --debug and report the log.",
        )
    if not np.isfinite(before).all():
        raise InvalidInputError(
            f"the float model answers NaN or infinity at output {spec.name!r}, first for sample {_first_bad(before)}",
            blame="your model",
            remedy="Check its weights and the range of your data (--normalize).",
        )
    if not np.isfinite(after).all():
        raise BrokenPromiseError(
            f"the artifact answers NaN or infinity at output {spec.name!r}, first for sample {_first_bad(after)}",
            blame="the artifact's precision",
            remedy="Build it in a wider precision: --precision fp32",
        )
    return before, after.reshape(before.shape)


def _first_bad(values: NDArray[Any]) -> int:
    return int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])


def _target_figures(
    before: NDArray[Any], after: NDArray[Any], targets: NDArray[Any], spec: TensorSpec, seed: int
) -> list[Figure]:
    if len(targets) != len(before):
        raise bad_data(
            f"output {spec.name!r}: {len(targets)} targets for {len(before)} samples", "Give one for each sample."
        )
    if targets.dtype == np.uint8:
        axis = class_axis(spec, targets.shape)
        maps = label_maps(before, axis), label_maps(after, axis, like=before)
        return segmentation_figures(*maps, targets, seed=seed)
    if targets.dtype.kind == "i":
        return label_figures(before, after, np.asarray(targets, np.int64), seed=seed)
    return target_figures(before, after, targets)


def _suffixed(figures: list[Figure], spec: TensorSpec, outputs: Sequence[TensorSpec]) -> list[Figure]:
    if len(outputs) == 1:
        return figures
    return [replace(figure, name=f"{figure.name}:{spec.name}") for figure in figures]


def _first_drop(group: list[Figure]) -> float:
    """The drop of a group's first figure, which is in points and higher-is-better for every kind of target."""
    return (group[0].float or 0.0) - group[0].artifact
