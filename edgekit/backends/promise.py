"""What an artifact promises, layer by layer: the plan that a back end realises names every layer that multiplies."""

from __future__ import annotations

from collections.abc import Collection

from edgekit.core.errors import UnsupportedOpError
from edgekit.core.types import Precision, QuantPlan
from edgekit.ir.model import Model

__all__ = ["MULTIPLYING", "promised"]

# Operators that come to convolutions and matrix products.
MULTIPLYING = frozenset({"Conv", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})


def promised(plan: QuantPlan, model: Model, floating: Collection[str] = ()) -> QuantPlan:
    """`plan` with the precision of each layer of `model` that multiplies; one whose default is float stays as it is.

    Args:
        plan: what was asked for.
        model: the network.
        floating: layers that can't be anything but float here.

    Raises:
        UnsupportedOpError: no layer is left for dynamic int8.
    """
    if plan.default not in (Precision.INT8, Precision.DYNAMIC):
        return plan
    named = {**dict(plan.layers), **dict.fromkeys(floating, Precision.FP32)}
    layers = [str(node.name) for node in model.graph if node.op_type in MULTIPLYING or node.name in floating]
    promise = tuple((layer, named.get(layer, plan.default)) for layer in layers)
    if plan.default is Precision.DYNAMIC and Precision.DYNAMIC not in dict(promise).values():
        raise UnsupportedOpError(
            "no layer of this network can be made dynamic int8 here",
            blame="your model on this back end",
            remedy="Build it in another precision: --precision int8, or --precision auto, which leaves this one out.",
        )
    return QuantPlan(plan.default, promise)
