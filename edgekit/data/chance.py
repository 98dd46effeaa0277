"""A float model at chance: almost always the preprocessing, so the error says which one would fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.plain import from_json, to_json
from edgekit.core.types import Preprocess, TensorSpec
from edgekit.data.metrics.classification import classify
from edgekit.data.preprocess import COLORS, NORMALIZATIONS, ImageShape, denormalize, image_shape, normalize

__all__ = ["Suggestion", "near_chance", "suggest", "suggest_preprocess"]

_FEW = 20
_TRIED = 200
# Of the way from chance to perfect; a model that has learned anything is beyond it.
_MARGIN = 0.1


@dataclass(frozen=True)
class Suggestion:
    """A preprocessing under which the same model answers well: its flags, and top-1 in points on `n` samples."""

    preprocess: Preprocess
    flags: str
    accuracy: float
    n: int


def near_chance(output: NDArray[Any], labels: NDArray[np.int64]) -> bool:
    """Whether a float classifier does no better than guessing.

    Balanced accuracy (the mean recall of the K classes that occur) is compared with 1 / K, what any constant or random
    answer gets: near means within two standard errors of it, or within a tenth of the way to perfect. Fewer than 20
    samples, or one class, tell nothing: never near.

    Args:
        output: the model's scores, (n, C) or (n, 1).
        labels: (n,).
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(labels) < _FEW or len(classes) < 2:
        return False
    right = classify(output) == labels
    balanced = float(np.mean([right[labels == label].mean() for label in classes]))
    chance = 1 / len(classes)
    error = math.sqrt(float(np.sum(chance * (1 - chance) / counts))) / len(classes)
    return balanced <= chance + max(2 * error, _MARGIN * (1 - chance))


def suggest_preprocess(
    samples: NDArray[np.float32],
    labels: NDArray[np.int64],
    run: Callable[[NDArray[np.float32]], NDArray[Any]],
    *,
    spec: TensorSpec,
    preprocess: Preprocess,
) -> Suggestion | None:
    """Try the other normalisations and channel orders on at most 200 samples; None where none is better than chance.

    Every normalisation is affine, so the samples themselves are turned from one into the other: no image is read
    again. Samples that were fed as they are ("none") count as pixels of 0..255, or of 0..1 where none is above 1;
    with negative numbers among them there is nothing to try.

    Args:
        samples: (n, …) as the model was fed, in `spec`'s layout.
        labels: (n,).
        run: the model: inputs to the scores of the output that the labels belong to.
        spec: the image input.
        preprocess: what made the samples.
    """
    shape = image_shape(spec)
    if shape is None or (preprocess.normalize == "none" and float(samples.min()) < 0):
        return None
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(_TRIED, len(samples))).astype(np.int64))
    samples, labels = samples[chosen], labels[chosen]
    pixels = denormalize(samples, _actual(samples, preprocess), shape)
    best: Suggestion | None = None
    for candidate in _candidates(preprocess, shape):
        swapped = candidate.color != preprocess.color
        fed = normalize(_reverse_channels(pixels, shape) if swapped else pixels, candidate, shape)
        output = run(fed)
        accuracy = 100 * float(np.mean(classify(output) == labels))
        if not near_chance(output, labels) and (best is None or accuracy > best.accuracy):
            best = Suggestion(candidate, _flags(candidate), accuracy, len(labels))
    return best


def suggest(
    *,
    model: str,
    inputs: str,
    labels: str,
    preprocess: dict[str, Any],
    input_specs: list[dict[str, Any]],
) -> dict[str, Any] | None:
    """`suggest_preprocess` as the entry of a child process, on the Model and the files of a split.

    Args:
        model: path of the Model.
        inputs, labels: the split's .npz files; the first class labels count.
        preprocess: JSON of the Preprocess that made the split.
        input_specs: JSON of the Model's inputs; a model with several gets no suggestion.

    Returns:
        The suggestion as JSON, or None.
    """
    from edgekit.ir.model import Model
    from edgekit.ir.run import run

    specs = [from_json(TensorSpec, spec) for spec in input_specs]
    with np.load(labels, allow_pickle=False) as file:
        targets = {name: file[name] for name in file.files if file[name].dtype == np.int64}
    if len(specs) != 1 or not targets:
        return None
    output, classes = next(iter(targets.items()))
    with np.load(inputs, allow_pickle=False) as file:
        samples = file[specs[0].name]
    loaded = Model.load(Path(model))
    found = suggest_preprocess(
        samples,
        classes,
        lambda fed: run(loaded, {specs[0].name: fed})[output],
        spec=specs[0],
        preprocess=from_json(Preprocess, preprocess),
    )
    return None if found is None else dict(to_json(found))


def _actual(samples: NDArray[np.float32], preprocess: Preprocess) -> Preprocess:
    """How the samples are normalised in truth: data fed as it is may come scaled."""
    scaled = preprocess.normalize == "none" and float(samples.max()) <= 1
    return replace(preprocess, normalize="0..1") if scaled else preprocess


def _candidates(preprocess: Preprocess, shape: ImageShape) -> Iterator[Preprocess]:
    for color in COLORS if shape.channels == 3 else (preprocess.color,):
        for normalization in NORMALIZATIONS:
            candidate = replace(preprocess, color=color, normalize=normalization)
            if candidate != preprocess:
                yield candidate


def _reverse_channels(pixels: NDArray[Any], shape: ImageShape) -> NDArray[Any]:
    return pixels[:, ::-1] if shape.channels_first else pixels[..., ::-1]


def _flags(preprocess: Preprocess) -> str:
    default = Preprocess()
    color = f" --color {preprocess.color}" if preprocess.color != default.color else ""
    # The equals sign keeps "-1..1" from being read as a flag.
    return f"--normalize={preprocess.normalize}{color}"
