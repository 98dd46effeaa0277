"""A pass that takes something from the network: that nothing else went with it is checked."""

from __future__ import annotations

from typing import ClassVar

from edgekit.core.errors import DefectError
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.passes.contract import Pass

__all__ = ["Reduction"]

_SAMPLES = 2


class Reduction(Pass):
    """Makes the network smaller, in a way that a network of the old size can show, too: with channels masked, say.

    Its `call` gives both to `must_agree`, and changes the smaller one further only then, to make up for what went.

    Attributes:
        takes: what goes, like "channels".
        without: what to build without meanwhile, where it fails, like "pruning".
    """

    keeps_function: ClassVar[bool] = False
    takes: ClassVar[str]
    without: ClassVar[str]

    def __init__(self, seed: int) -> None:
        """`seed` of the random inputs that both answer."""
        self._seed = seed
        self._pair: tuple[Model, Model] | None = None

    def must_agree(self, smaller: Model, whole: Model) -> None:
        """The network without what goes, and the one of the old size in which that has no say."""
        self._pair = smaller, whole

    def ensures(self, model: Model) -> None:
        """Both answer the same, within the tolerance.

        Raises:
            DefectError: they don't.
        """
        assert self._pair is not None
        feeds = probe(model, self._seed, _SAMPLES)
        smaller, whole = (run(each, feeds) for each in self._pair)
        difference = max_relative(smaller, whole)
        if not difference <= self.tolerance:
            raise DefectError(
                f"the pass {self.name!r} took more than {self.takes}: the outputs differ by {difference:.1e} from those"
                f" of the whole network without these {self.takes}",
                blame="edgekit",
                remedy=f"Report it with the model; build without {self.without} meanwhile.",
            )
