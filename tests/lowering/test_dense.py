"""Products of computed matrices, as attention has them, and Einsum, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from edgekit.core.types import Layout
from edgekit.ir import Model

Build = Callable[..., Model]
Holds = Callable[..., list[str]]


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [("batch", 6, 4), ("batch", 2, 6, 4)], ids=["rank 3", "rank 4"])
def test_a_transposed_factor_costs_no_transpose(shape: tuple[Any, ...], model_of: Build, holds: Holds) -> None:
    axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    nodes = [make_node("Transpose", ["z"], ["t"], perm=axes), make_node("MatMul", ["x", "t"], ["y"])]
    assert holds(model_of(nodes, {"x": shape, "z": shape})) == ["BATCH_MATMUL"]


def test_self_attention_transposes_no_more_than_its_heads(model_of: Build, holds: Holds) -> None:
    """Queries, keys and values go to heads, and the answer back: four changes of layout, and none for Kᵀ."""
    nodes = []
    for name in "qkv":
        nodes += [
            make_node("MatMul", ["x", f"w{name}"], [f"{name}0"], f"{name}/product"),
            make_node("Reshape", [f"{name}0", "heads"], [f"{name}1"], f"{name}/reshape"),
            make_node("Transpose", [f"{name}1"], [name], f"{name}/transpose", perm=[0, 2, 1, 3]),
        ]
    nodes += [
        make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        make_node("MatMul", ["q", "kt"], ["scores"]),
        make_node("Softmax", ["scores"], ["weights"]),
        make_node("MatMul", ["weights", "v"], ["answer"]),
        make_node("Transpose", ["answer"], ["back"], perm=[0, 2, 1, 3]),
        make_node("Reshape", ["back", "whole"], ["y"]),
    ]
    weights = {f"w{name}": floats(8, 8) for name in "qkv"}
    weights |= {"heads": np.array([0, 5, 2, 4]), "whole": np.array([0, 5, 8])}
    ops = holds(model_of(nodes, {"x": ("batch", 5, 8)}, weights))
    assert ops.count("TRANSPOSE") <= 4


def test_patches_of_an_image_are_a_sequence_without_transpose(model_of: Build, holds: Holds) -> None:
    """As in ViT: a convolution by patches, (N, C, H, W) to (N, C, H·W) to (N, H·W, C)."""
    nodes = [
        make_node("Conv", ["x", "w"], ["p"], strides=[4, 4]),
        make_node("Reshape", ["p", "s"], ["r"]),
        make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        make_node("MatMul", ["t", "m"], ["y"]),
    ]
    weights = {"w": floats(6, 3, 4, 4), "s": np.array([0, 6, -1]), "m": floats(6, 5)}
    assert "TRANSPOSE" not in holds(model_of(nodes, {"x": ("batch", 3, 8, 8)}, weights, layouts={"x": Layout.NCHW}))


def test_a_channel_shuffle_is_one_transpose(model_of: Build, holds: Holds) -> None:
    """As in ShuffleNet: channels to groups, groups and channels exchanged, and back."""
    nodes = [
        make_node("Reshape", ["x", "groups"], ["g"]),
        make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3, 4]),
        make_node("Reshape", ["t", "channels"], ["c"]),
        make_node("Relu", ["c"], ["y"]),
    ]
    weights = {"groups": np.array([0, 2, 3, 4, 5]), "channels": np.array([0, 6, 4, 5])}
    layouts = {"x": Layout.NCHW, "y": Layout.NCHW}
    ops = holds(model_of(nodes, {"x": ("batch", 6, 4, 5)}, weights, layouts=layouts))
    assert ops.count("TRANSPOSE") == 1


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bij,bkj->bik", "bhid,bhjd->bhij", "bij->bji", "bij->bi"])
def test_einsum(equation: str, model_of: Build, holds: Holds) -> None:
    terms = equation.partition("->")[0].split(",")
    sizes = {"i": 3, "j": 4, "k": 5, "h": 2, "d": 4}
    inputs = {name: ("batch", *(sizes[axis] for axis in term[1:])) for name, term in zip("xz", terms, strict=False)}
    holds(model_of([make_node("Einsum", list(inputs), ["y"], equation=equation)], inputs))
