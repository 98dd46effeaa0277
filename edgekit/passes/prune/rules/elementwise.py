"""Operators that work element by element, with numpy's broadcasting."""

from __future__ import annotations

from edgekit.passes.prune.rules import NodeChannels, broadcast, channel_rule

__all__: list[str] = []

_UNARY = """
    Abs Ceil Celu Cos Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsNaN LeakyRelu Log Mish Neg Not
    Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Swish Tanh ThresholdedRelu Cast Clip
"""
_BROADCASTING = (
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Or PRelu Pow Sub Sum Where Xor"
)


@channel_rule(*_UNARY.split())
def _unary(node: NodeChannels) -> None:
    node.give(*[node.channels(0)] * len(node.node.outputs))


@channel_rule(*_BROADCASTING.split())
def _broadcasting(node: NodeChannels) -> None:
    places = range(len(node.node.inputs))
    node.give(broadcast(node, [node.channels(i) for i in places], [node.shape(i) for i in places]))
