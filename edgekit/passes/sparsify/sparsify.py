"""The pass: weights become zero by a pattern."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from edgekit.core.errors import UsageError
from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.layer_weights import LayerWeights, require_weights, set_weights
from edgekit.passes.sparsify.block import block
from edgekit.passes.sparsify.magnitude import magnitude
from edgekit.passes.sparsify.masks import Masks
from edgekit.passes.sparsify.n_of_m import n_of_m, parse
from edgekit.passes.sparsify.random import random
from edgekit.passes.sparsify.ranking import ranking

__all__ = ["PATTERNS", "Pattern", "Sparsify"]

# The layers, the share that goes, a seed → what stays.
Pattern = Callable[[Sequence[LayerWeights], float, int], Masks]

PATTERNS: Mapping[str, Pattern] = MappingProxyType(
    {"global": ranking, "magnitude": magnitude, "block": block, "random": random}
)


class Sparsify(Pass):
    """Sets weights to zero; the others stay as they are. Biases stay."""

    name: ClassVar[str] = "sparsify"
    keeps_function: ClassVar[bool] = False

    def __init__(self, sparsity: float | str, *, pattern: str = "global", seed: int = 0) -> None:
        """How many go, and which.

        Args:
            sparsity: the share of the weights that becomes zero, between 0 and 1; or "N:M", of which N of M stay.
            pattern: the name of the pattern of a share.
            seed: of the random one.

        Raises:
            UsageError: no such share or pattern.
        """
        self._n_of_m = parse(sparsity) if isinstance(sparsity, str) else None
        self._share = 0.5 if isinstance(sparsity, str) else float(sparsity)
        self._pattern, self._seed = pattern, seed
        if not 0 < self._share < 1:
            raise UsageError(
                f"the sparsity is the share of the weights that becomes zero, between 0 and 1; {sparsity} is not",
                blame="the command line",
                remedy="Give for example 0.5, which makes half of the weights zero.",
            )
        if pattern not in PATTERNS:
            close = difflib.get_close_matches(pattern, PATTERNS, n=1)
            raise UsageError(
                f"there is no sparsity pattern {pattern}",
                blame="the command line",
                remedy=f"{f'Did you mean {close[0]}? ' if close else ''}Take one of: {', '.join(PATTERNS)}; or say how"
                " many of how many stay, like --sparsity 2:4",
            )

    def requires(self, model: Model) -> None:
        """There are weights."""
        require_weights(model)

    def call(self, model: Model) -> PassResult:
        """Mask the weights."""
        layers = require_weights(model)
        masks = (
            n_of_m(layers, *self._n_of_m) if self._n_of_m else PATTERNS[self._pattern](layers, self._share, self._seed)
        )
        for weights in layers:
            set_weights(model, weights.constant, weights.content * masks[weights.constant])
        return PassResult(model, len(layers))
