"""A network with every kind of layer that has weights, for the tests of sparsity and clustering."""

from __future__ import annotations

from edgekit.ir.model import Model
from tests.passes.prune.networks import SIZE, Network

SPARED = "depthwise"


def every_layer(seed: int = 0, width: int = 18) -> Model:
    """Conv, depthwise and grouped ones, ConvTranspose, MatMul and Gemm both ways; `width` fills no whole blocks."""
    net = Network(seed, channels=12)
    net.x, net.channels = net.add("Relu", [net.conv(net.x, 12, width)]), width
    net.x = net.conv(net.x, width, width, groups=width, kernel=5)
    net.x = net.conv(net.x, width, width, groups=2)
    net.x = net.add("ConvTranspose", [net.x, net.weights(width, width, 3, 3)], pads=[1, 1, 1, 1])
    flat = net.add("Flatten", [net.x])
    hidden = net.add("Relu", [net.add("MatMul", [flat, net.weights(width * SIZE * SIZE, 30)])])
    hidden = net.add("Relu", [net.add("Gemm", [hidden, net.weights(30, 40), net.weights(40)])])
    hidden = net.add("Relu", [net.add("Gemm", [hidden, net.weights(2 * SIZE * SIZE, 40)], transB=1)])
    net.x, net.channels = net.add("Reshape", [hidden, net.integers([-1, 2, SIZE, SIZE])]), 2
    return net.model()
