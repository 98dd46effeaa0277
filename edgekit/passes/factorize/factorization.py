"""The pass: give each layer a rank, make it two, and let the second half fit what the whole layer gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgekit.core import events
from edgekit.core.errors import InvalidInputError
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.passes.contract import PassResult
from edgekit.passes.factorize.decomposition import Decomposition, Moments, decompose, fitted
from edgekit.passes.factorize.ranks import Offer, choose_ranks, keep_ranks
from edgekit.passes.factorize.splitting import Array, Splittable, splittable
from edgekit.passes.fuse.rewiring import set_input_constant
from edgekit.passes.layer_weights import bias_of, no_numbers
from edgekit.passes.matrices import drawn
from edgekit.passes.prune.layers import name_of
from edgekit.passes.prune.schedule import require_share
from edgekit.passes.reduction import Reduction
from edgekit.passes.walk import Walk, affordable, rows

__all__ = ["Factorize", "Ranked"]

# Of the places in a few images so many say as much as all of them.
_PLACES = 16384


@dataclass(frozen=True)
class Ranked:
    """A layer that can become two.

    Attributes:
        name: the layer's.
        rank: the channels between its halves; 0 of one that stays whole.
        full: the rank that its weights can have.
    """

    name: str
    rank: int
    full: int


class Factorize(Reduction):
    """Makes layers two thin ones until a share of the MACs has gone.

    That nothing but ranks went is checked: before the second halves are fitted, the network answers as the whole one
    does with weights of these ranks.

    Attributes:
        ranked: the layers that could become two, in the order of the graph; empty before the pass has run.
        multiple: what their ranks are multiples of.
    """

    name: ClassVar[str] = "factorize"
    takes: ClassVar[str] = "ranks"
    without: ClassVar[str] = "--factorize"
    tolerance: ClassVar[float] = 1e-4

    def __init__(
        self, amount: float | Sequence[int], samples: Mapping[str, Array], *, multiple: int = 1, seed: int = 0
    ) -> None:
        """How much.

        Args:
            amount: the share of the MACs that goes, between 0 and 1; or the rank of each layer that can become two, 0
                where it stays whole.
            samples: calibration inputs by name, (samples, …) each; without any, ranks go by the weights alone and
                nothing is fitted.
            multiple: what ranks are multiples of.
            seed: of the probe, and of the places that are drawn.
        """
        super().__init__(seed)
        self.ranked: tuple[Ranked, ...] = ()
        self.multiple = multiple
        self._amount, self._samples = amount, samples

    def requires(self, model: Model) -> None:
        """Some layer can be two, its weights are numbers, and the ratio is a share.

        Raises:
            InvalidInputError: none can; or their weights are no numbers.
        """
        if isinstance(self._amount, float):
            require_share(self._amount)
        layers = splittable(model)
        if not layers:
            raise InvalidInputError(
                "there is nothing to factorize here: no convolution, and no dense layer, would cost less as two",
                blame="your model",
                remedy="Build it without --factorize.",
            )
        broken = next((layer.name for layer in layers if not np.isfinite(layer.matrix).all()), None)
        if broken:
            raise no_numbers(broken)

    def call(self, model: Model) -> PassResult:
        """Decompose, choose ranks, split, fit."""
        whole = model.clone()
        layers = splittable(whole)
        found = self._decomposed(whole, layers)
        ranks = self._ranks(layers, found, model_cost(model).macs)
        joined = model.clone()
        todo = [
            (layer, each.truncated(rank)) for layer, each, rank in zip(layers, found, ranks, strict=True) if rank > 0
        ]
        for layer, each in todo:
            layer.split(model.graph, each.first, each.second)
            layer.join(joined.graph, each.first, each.second)
        self.must_agree(model.clone(), joined)
        self.ranked = tuple(Ranked(layer.name, rank, layer.full) for layer, rank in zip(layers, ranks, strict=True))
        if self._samples:
            self._fit(whole, model, todo)
        return PassResult(model, len(todo))

    def _ranks(self, layers: Sequence[Splittable], found: Sequence[Decomposition], macs: int) -> Sequence[int]:
        if not isinstance(self._amount, float):
            return keep_ranks([layer.most for layer in layers], self._amount)
        offers = [
            Offer(layer.macs, layer.macs_per_rank, layer.most, layer.matrix.size, each.energies)
            for layer, each in zip(layers, found, strict=True)
        ]
        ranks, self.multiple = choose_ranks(offers, macs, self._amount, self.multiple)
        return ranks

    def _decomposed(self, whole: Model, layers: Sequence[Splittable]) -> list[Decomposition]:
        """Each layer's products, by what they put out for the samples."""
        if not self._samples:
            return [decompose(layer.matrix, None) for layer in layers]
        walk, found = Walk(whole, affordable(self._samples, whole)), []
        for place, layer in enumerate(layers):
            events.progress(f"decomposing {layer.name}", place / len(layers) / 2)
            walk.to(layer.node)
            moments = Moments(centred=bias_of(layer.node, layer.outputs) is not None)
            for data in walk.here(layer.data):
                read = layer.first.rows(data, _PLACES, self._seed)
                moments.add(read, read)
            found.append(decompose(layer.matrix, moments.of_x))
        return found

    def _fit(self, whole: Model, model: Model, todo: Sequence[tuple[Splittable, Decomposition]]) -> None:
        """Let each second half give what the whole layer gave, by least squares, from inputs to outputs.

        It reads what the halves in front of it really make, and may shift its output.
        """
        samples = affordable(self._samples, whole, model)
        there, here, nodes = Walk(whole, samples), Walk(model, samples), {name_of(node): node for node in model.graph}
        for place, (layer, each) in enumerate(todo):
            events.progress(f"fitting {layer.name}", 0.5 + place / len(todo) / 2)
            node = nodes[layer.name]
            there.to(layer.node)
            here.to(node)
            between, bias = node.inputs[0], bias_of(layer.node, layer.outputs)
            assert between is not None
            moments = Moments(centred=bias is not None)
            for data, answer in zip(here.here(between), there.made_by(layer.node), strict=True):
                made = drawn(rows(answer, layer.axis), _PLACES, self._seed)
                moments.add(layer.second.rows(data, _PLACES, self._seed), made)
            weights = fitted(moments, layer.turned(each.second))
            set_input_constant(node, 1, layer.second.weights(weights), name=f"{layer.name}/expand/weights")
            if bias is not None:
                set_input_constant(node, 2, moments.shift(weights).astype(np.float32), name=f"{layer.name}/bias")
