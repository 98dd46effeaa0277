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
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: Preprocess = field(default_factory=Preprocess)
    labelled: bool = True


@dataclass(frozen=True)
class Source:
    """Samples, preprocessed as they are read.

    Attributes:
        name: the data argument, for messages.
        ids: a name for each sample: a file's relative path, "row 17", "line 3".
        read: the sample at an index: float32 arrays without a batch axis, one an input name.
        targets: per output name, int64 class labels (n,) or float32 values (n, …) in the output's shape; empty
            when unlabelled.
        class_names: in label order, where known.
        notes: what was assumed, for the user to see.
    """

    name: str
    ids: Sequence[str]
    read: Callable[[int], dict[str, NDArray[np.float32]]]
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The labels that splits are stratified by: those of the first output that has class labels."""
        return next((labels for labels in self.targets.values() if labels.dtype == np.int64), None)
