"""Batches: which rows, in which order, changed how; all of it follows from seed, epoch and step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from edgekit.core.types import TensorSpec
from edgekit.passes.recover.augment import augmented, mixup
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.settings import Augment

__all__ = ["Batch", "Feed", "ahead"]

# Inputs in order, targets by output, the teacher's answers by name.
Batch = tuple[list[Array], dict[str, Array], dict[str, Array]]
_T = TypeVar("_T")
_AHEAD = 3


@dataclass(frozen=True)
class Feed:
    """Where batches come from.

    Attributes:
        samples: the training samples; what the teacher answers to them stands in `taught`.
        specs: the model's inputs.
        batch: samples a step; the rest of an epoch that fills no batch is left out, another one in each epoch.
        augment: the changes.
        seed: of order and changes.
        taught: the teacher's answers, (n, …) a name; empty where it is asked batch by batch.
    """

    samples: Samples
    specs: tuple[TensorSpec, ...]
    batch: int
    augment: tuple[Augment, ...]
    seed: int
    taught: Mapping[str, Array]

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return max(len(self.samples) // self.batch, 1)

    def epoch(self, number: int, steps: int) -> Iterator[Batch]:
        """The first `steps` batches of an epoch: inputs in order, targets by output, the teacher's answers by name.

        They are made in a thread, some ahead of the one that is worked on.
        """
        order = np.random.default_rng([self.seed, number]).permutation(len(self.samples))

        def make(step: int) -> Batch:
            rows = order[step * self.batch : (step + 1) * self.batch]
            return self._batch(rows, np.random.default_rng([self.seed, number, step + 1]))

        return ahead(make, range(steps))

    def _batch(self, rows: Array, random: np.random.Generator) -> Batch:
        inputs = {spec.name: self.samples.inputs[spec.name][rows] for spec in self.specs}
        targets = {name: array[rows] for name, array in self.samples.targets.items()}
        taught = {name: array[rows] for name, array in self.taught.items()}
        inputs = augmented(inputs, self.specs, self.augment, random)
        if Augment.MIXUP in self.augment:
            inputs, targets = mixup(inputs, targets, random)
        return [inputs[spec.name] for spec in self.specs], targets, taught


def ahead(make: Callable[[int], _T], steps: Sequence[int]) -> Iterator[_T]:
    """`make(step)` for each of `steps`, in order, made in another thread while the caller works."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Any]] = deque(pool.submit(make, step) for step in steps[:_AHEAD])
        try:
            for step in (*steps[_AHEAD:], *[None] * min(_AHEAD, len(steps))):
                made = waiting.popleft().result()
                if step is not None:
                    waiting.append(pool.submit(make, step))
                yield made
        finally:
            for future in waiting:
                future.cancel()
