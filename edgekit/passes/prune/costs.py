"""What a network costs as a function of how many channels of each group are left, without pruning it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.passes.prune.dependencies import Dependencies
from edgekit.passes.prune.layers import name_of
from edgekit.passes.prune.rules import shape_of

__all__ = ["Costs", "Kept", "Volume", "costs"]

Kept = np.ndarray[Any, np.dtype[np.int64]]
_Array = np.ndarray[Any, Any]
_Axis = tuple[ir.Value, int]


@dataclass(frozen=True)
class Volume:
    """A sum of products of axis sizes, each of which depends on the channels that are left.

    Attributes:
        full: each product with all channels, (products,).
        product: which product an axis belongs to, (axes,).
        size: how long the axis is with all channels, (axes,).
        places: how much shorter it gets with each channel of each group, (axes, groups).
        groups: how many channels each group has, (groups,).
    """

    full: _Array
    product: _Array
    size: _Array
    places: _Array
    groups: _Array

    def __call__(self, kept: Kept | None = None) -> float:
        """The sum when `kept` channels of each group are left, (groups,); None for all."""
        if kept is None:
            return float(self.full.sum())
        share = np.ones(self.full.size)
        np.multiply.at(share, self.product, 1 - self.places @ (self.groups - kept) / self.size)
        return float(self.full @ share)


@dataclass(frozen=True)
class Costs:
    """A Model's multiply-accumulates (as `edgekit.ir.cost` counts them) and parameters; see `Volume`."""

    macs: Volume
    params: Volume


def costs(model: Model, dependencies: Dependencies) -> Costs:
    """The costs of `model` as functions of the channels that are left of each group of `dependencies`."""
    macs = {layer.name: layer.macs for layer in model_cost(model).layers}
    layers = [(macs[name_of(node)], list(_factors(node))) for node in model.graph if macs.get(name_of(node))]
    constants = [
        (math.prod(size or 0 for size in shape_of(value)), [(value, axis) for axis in range(len(shape_of(value)))])
        for value in model.graph.initializers.values()
        if value.shape and value.dtype is not None and value.dtype.is_floating_point()
    ]
    return Costs(_volume(dependencies, layers), _volume(dependencies, constants))


def _factors(node: ir.Node) -> Iterator[_Axis]:
    """The axes whose sizes are multiplied in a layer's MACs, of those that can change."""
    data, weights, made = node.inputs[0], node.inputs[1], node.outputs[0]
    assert data is not None
    assert weights is not None
    match node.op_type:
        case "Conv":
            yield from ((made, 1), (weights, 1))
        case "ConvTranspose":
            yield from ((data, 1), (weights, 1))
        case "Gemm" | "MatMul":
            transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) == 1
            yield data, 0 if transposed else -1
            yield from ((made, axis) for axis in range(len(shape_of(made))))


def _volume(dependencies: Dependencies, products: list[tuple[int, list[_Axis]]]) -> Volume:
    sizes = np.array([group.size for group in dependencies.groups], np.int64)
    group_of = {int(root): at for at, group in enumerate(dependencies.groups) for root in group.roots}
    product, size, places = [], [], []
    for at, (_, axes) in enumerate(products):
        for value, axis in axes:
            roots = dependencies.roots(str(value.name), axis)
            owners = [group_of[root] for root in roots.tolist() if root in group_of] if roots is not None else []
            if roots is not None and owners:
                product.append(at)
                size.append(roots.size)
                places.append(np.bincount(owners, minlength=sizes.size) / sizes)
    return Volume(
        full=np.array([full for full, _ in products], np.float64),
        product=np.array(product, np.int64),
        size=np.array(size, np.float64),
        places=np.array(places).reshape(len(places), sizes.size),
        groups=sizes,
    )
