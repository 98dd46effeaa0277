"""Source: samples that can be read one by one, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.types import Preprocess, TensorSpec

__all__ = ["Request", "Source"]


@dataclass(frozen=True)
class Request:
    """What a source must give.

    Attributes:
        inputs: the model's inputs; samples come in their shapes and layouts.
        outputs: the model's outputs; targets are for them.
        preprocess: applied to images.
        labelled: False to ignore labels and class folders.
        states: the inputs that are recurrent state: then samples are sequences.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: Preprocess = field(default_factory=Preprocess)
    labelled: bool = True
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Samples, preprocessed as they are read.

    Attributes:
        name: the data argument, for messages.
        ids: a name for each sample: a file's relative path, "row 17", "line 3".
        read: the sample at an index: arrays without a batch axis in the inputs' types, one an input name. Of a sequence
            they are (steps, …), but for a state, which is what the sequence starts from.
        targets: per output name, int64 class labels (n,) or float32 values (n, …) in the output's shape; empty
            when unlabelled. Sequences with a target for each step have n × steps of them.
        class_names: in label order, where known.
        notes: what was assumed, for the user to see.
        steps: how many there are in each sample: one, but for sequences.
    """

    name: str
    ids: Sequence[str]
    read: Callable[[int], dict[str, NDArray[Any]]]
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps: int = 1

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The labels that splits are stratified by: those of the first output that has one class label a sample."""
        labels = (labels for labels in self.targets.values() if labels.dtype == np.int64)
        return next((each for each in labels if len(each) == len(self)), None)

    def targets_of(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The targets of some samples, in their order."""
        return {
            key: values.reshape(len(self), -1, *values.shape[1:])[indices].reshape(-1, *values.shape[1:])
            for key, values in self.targets.items()
        }
