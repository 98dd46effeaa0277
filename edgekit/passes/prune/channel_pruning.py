"""The pass: choose channels by importance, remove them, and let what is left of each layer take over what has gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekit.ir.model import Model
from edgekit.passes.contract import PassResult
from edgekit.passes.prune.compensation import compensate
from edgekit.passes.prune.dependencies import analyse
from edgekit.passes.prune.hardware_aware import TimeLimit, choose_in_time
from edgekit.passes.prune.importance import Evidence, importance
from edgekit.passes.prune.removal import mask_channels, remove_channels
from edgekit.passes.prune.schedule import Choice, Schedule, choose, keep, require_prunable, require_share
from edgekit.passes.prune.times import Times
from edgekit.passes.reduction import Reduction

__all__ = ["PruneChannels"]


class PruneChannels(Reduction):
    """Removes channels until a share of the MACs has gone.

    That nothing but these channels went is checked: before compensation, the pruned network answers as the dense one
    does when no layer reads the removed channels.

    Attributes:
        choice: what was removed; None before the pass has run.
    """

    name: ClassVar[str] = "prune-channels"
    takes: ClassVar[str] = "channels"
    without: ClassVar[str] = "pruning"
    tolerance: ClassVar[float] = 1e-5

    def __init__(
        self,
        amount: float | TimeLimit | Sequence[int],
        evidence: Evidence,
        *,
        measure: str = "l2",
        schedule: Schedule = Schedule.UNIFORM,
        multiple: int = 1,
        compensated: bool = True,
    ) -> None:
        """What to prune.

        Args:
            amount: the share of the MACs that goes, between 0 and 1; or how long the network may take; or how many
                channels of each group stay.
            evidence: samples and labels, for the measures that want them, and for compensation.
            measure: the name of the importance.
            schedule: how the removal is spread over the network; of no account where time is to be met.
            multiple: what counts of channels are kept multiples of.
            compensated: whether the layers behind make up for what went; not without samples.
        """
        super().__init__(evidence.seed)
        self.choice: Choice | None = None
        self._amount = float(amount) if isinstance(amount, int) else amount
        self._evidence, self._measure = evidence, measure
        self._schedule, self._multiple, self._compensated = schedule, multiple, compensated

    def requires(self, model: Model) -> None:
        """Something can be pruned, and the ratio is a share."""
        if isinstance(self._amount, float):
            require_share(self._amount)
        require_prunable(analyse(model))

    def call(self, model: Model) -> PassResult:
        """Choose, remove, compensate."""
        dependencies = analyse(model)
        scores = importance(self._measure)(model, dependencies, self._evidence)
        if isinstance(self._amount, float):
            self.choice = choose(
                model, dependencies, scores, self._amount, schedule=self._schedule, multiple=self._multiple
            )
        elif isinstance(self._amount, TimeLimit):
            times = Times(model, dependencies, self._amount.clock)
            self.choice = choose_in_time(
                model, dependencies, scores, times, self._amount.seconds, multiple=self._multiple
            )
        else:
            self.choice = keep(model, dependencies, scores, self._amount)
        removed = remove_channels(model, dependencies, self.choice.removed)
        self.must_agree(removed, mask_channels(model, dependencies, self.choice.removed))
        pruned = removed.clone()
        if self._compensated and self._evidence.samples:
            compensate(model, pruned, dependencies, self.choice.removed, self._evidence.samples)
        return PassResult(pruned, self.choice.removed.size)
