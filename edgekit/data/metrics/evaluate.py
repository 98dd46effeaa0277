"""From two models' answers on the same samples to the list of metrics, the gated one first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import BrokenPromiseError, InvalidInputError
from edgekit.core.types import EvidenceKind, Metric, TensorSpec
from edgekit.data.function import load_function
from edgekit.data.metrics.classification import label_figures
from edgekit.data.metrics.fidelity import activation_of, agreement_figures, sqnr_figures
from edgekit.data.metrics.figure import Figure, as_metric
from edgekit.data.metrics.intervals import bootstrap
from edgekit.data.metrics.regression import target_figures
from edgekit.data.spec import bad_data
from edgekit.data.targets import class_count

__all__ = ["evaluate"]

_Arrays = Mapping[str, NDArray[Any]]


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
    steps: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Metric]:
    """The artifact's quality beside the float model's.

    - With `custom`, `module:function(outputs, targets) -> float` comes first and is gated; it gets all outputs. Its
      attributes `higher_is_better` (default True) and `unit` (default "") are respected.
    - An output with class labels gives top1, top5, precision, recall, f1, auc; one with values gives r2, mse, mae. Of
      several such outputs the one with the largest drop comes first.
    - Without targets a classifier's output (softmax, or a single sigmoid) gives agreement, balanced agreement and the
      worst class' agreement.
    - Every output gives its SQNR.

    With several outputs the names end in ":<output>".

    Args:
        reference: the original float model's answers, (n, …) an output name.
        answers: the artifact's, on the same samples.
        targets: int64 class labels (n,) or float32 values (n, …) an output name; None or empty without labels.
        outputs: the model's outputs.
        split, where, kind: what the metrics say about themselves.
        custom: the user's metric.
        activations: what each output ends in ("softmax", "sigmoid"); where it says neither, the reference's numbers do.
        steps: for each output that the reference rounds, the distance of two neighbours.
        seed: of the bootstrap.

    Raises:
        InvalidInputError: the float model answers NaN, or the user's metric fails.
        BrokenPromiseError: the artifact answers NaN or infinity, or in another shape or number.
    """
    checked = {spec.name: _pair(reference, answers, spec) for spec in outputs}
    figures = [_custom(custom, checked, targets or {}, seed)] if custom else []
    judged = [
        _suffixed(_target_figures(*checked[spec.name], targets[spec.name], spec, seed), spec, outputs)
        for spec in outputs
        if targets and spec.name in targets
    ]
    figures += [figure for group in sorted(judged, key=_first_drop, reverse=True) for figure in group]
    for spec in outputs:
        before, after = checked[spec.name]
        activation = (activations or {}).get(spec.name) or activation_of(before)
        is_classifier = activation and class_count(spec) == (2 if activation == "sigmoid" else before[0].size)
        if is_classifier and not judged:
            figures += _suffixed(agreement_figures(before, after), spec, outputs)
        resolution = (steps or {}).get(spec.name, 0.0) / 2
        figures += _suffixed(sqnr_figures(before, after, activation, resolution), spec, outputs)
    # Agreement, the gated figure of unlabelled data, goes before SQNR whichever output has it.
    figures.sort(key=lambda figure: "sqnr" in figure.name)
    return [as_metric(figure, split=split, where=where, kind=kind) for figure in figures]


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


def _custom(spec: str, checked: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], targets: _Arrays, seed: int) -> Figure:
    """The user's metric over all outputs, with a paired bootstrap interval."""
    function = load_function(spec)
    n = len(next(iter(checked.values()))[0])
    everything = np.arange(n)

    def value(which: int, rows: NDArray[np.int64]) -> float:
        return _call(spec, function, {k: pair[which][rows] for k, pair in checked.items()}, targets, rows)

    interval = bootstrap(lambda rows: value(0, rows) - value(1, rows), n, seed=seed)
    return Figure(
        name=spec.partition(":")[2],
        unit=str(getattr(function, "unit", "")),
        higher_is_better=bool(getattr(function, "higher_is_better", True)),
        n=n,
        artifact=value(1, everything),
        float=value(0, everything),
        interval=interval,
    )


def _call(
    spec: str, function: Callable[..., Any], outputs: _Arrays, targets: _Arrays, rows: NDArray[np.int64]
) -> float:
    try:
        value = float(function(outputs, {name: values[rows] for name, values in targets.items()}))
    except Exception as error:
        raise bad_data(
            f"the metric {spec} failed: {type(error).__name__}: {error}",
            "It is called as function(outputs, targets), two dicts of arrays by output name, and returns a number.",
        ) from error
    if not np.isfinite(value):
        raise bad_data(f"the metric {spec} returned {value}", "Return a finite number for any resampling of the data.")
    return value
