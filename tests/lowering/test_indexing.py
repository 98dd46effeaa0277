"""Slice, Split, Gather and its kin, Expand, Tile and Where against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node

from edgekit.core.types import Layout
from edgekit.ir import Model

Array = np.ndarray[Any, Any]
Build = Callable[..., Model]
Holds = Callable[..., list[str]]

IMAGE = {"x": ("batch", 4, 5, 6)}
NCHW = {"x": Layout.NCHW, "y": Layout.NCHW}


def floats(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


SLICES: dict[str, tuple[list[int], list[int], list[int], list[int] | None]] = {
    "channels": ([1], [3], [1], None),
    "from the end": ([-2], [1 << 40], [-1], None),
    "steps": ([0, 1], [5, 6], [2, 3], [2, 3]),
    "backwards": ([-1, 4], [-(1 << 40), 1], [2, 3], [-1, -2]),
    "everything": ([0], [1 << 40], [2], None),
    "beyond": ([-100], [100], [3], [2]),
}


@pytest.mark.parametrize("case", SLICES)
def test_slice(case: str, model_of: Build, holds: Holds) -> None:
    starts, ends, axes, steps = SLICES[case]
    weights = {"s": np.array(starts), "e": np.array(ends), "a": np.array(axes)}
    weights |= {"t": np.array(steps)} if steps else {}
    ops = holds(model_of([make_node("Slice", ["x", *weights], ["y"])], IMAGE, weights, layouts=NCHW))
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize("sizes", [(2, 2), (1, 3)])
def test_split(sizes: tuple[int, int], model_of: Build, holds: Holds) -> None:
    node = make_node("Split", ["x", "s"], ["y", "z"], axis=1)
    layouts = {**NCHW, "z": Layout.NCHW}
    ops = holds(model_of([node], IMAGE, {"s": np.array(sizes)}, outputs=("y", "z"), layouts=layouts))
    assert "TRANSPOSE" not in ops


def test_channel_split_and_shuffle_asks_for_no_more_than_its_own_transpose(model_of: Build, holds: Holds) -> None:
    nodes = [
        make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        make_node("Sigmoid", ["b"], ["s"]),
        make_node("Mul", ["a", "s"], ["m"]),
        make_node("Concat", ["m", "a"], ["y"], axis=1),
    ]
    assert "TRANSPOSE" not in holds(model_of(nodes, IMAGE, layouts=NCHW))


GATHERS: dict[str, Any] = {"one": 2, "the last": -1, "some": [2, 0], "a table": [[0, 1], [-1, 2]]}


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("case", GATHERS)
def test_gather_with_constant_indices(case: str, axis: int, model_of: Build, holds: Holds) -> None:
    node = make_node("Gather", ["x", "i"], ["y"], axis=axis)
    holds(model_of([node], IMAGE, {"i": np.array(GATHERS[case])}, layouts={"x": Layout.NCHW}))


@pytest.mark.parametrize("to", [6, 7], ids=["int32", "int64"])
def test_embedding(to: int, model_of: Build, holds: Holds) -> None:
    nodes = [make_node("Cast", ["x"], ["i"], to=to), make_node("Gather", ["table", "i"], ["y"])]
    assert "GATHER" in holds(model_of(nodes, {"x": ("batch", 7)}, {"table": floats(9, 4)}), low=0, high=9)


def test_gather_elements(model_of: Build, holds: Holds) -> None:
    node = make_node("GatherElements", ["x", "i"], ["y"], axis=1)
    holds(model_of([node], {"x": (2, 4, 3)}, {"i": np.array([[[0, 1, 2], [-1, 3, 0]]] * 2)}))


def test_gather_nd(model_of: Build, holds: Holds) -> None:
    node = make_node("GatherND", ["x", "i"], ["y"])
    holds(model_of([node], {"x": (2, 4, 3)}, {"i": np.array([[0, 1], [1, -1]])}))


def test_scatter_elements(model_of: Build, holds: Holds) -> None:
    node = make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=1)
    holds(model_of([node], {"x": (2, 4), "u": (2, 2)}, {"i": np.array([[0, 2], [3, -3]])}))


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_scatter_nd(reduction: str, model_of: Build, holds: Holds) -> None:
    node = make_node("ScatterND", ["x", "i", "u"], ["y"], reduction=reduction)
    holds(model_of([node], {"x": (2, 4), "u": (2,)}, {"i": np.array([[0, 2], [1, -1]])}))


@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (1, 3, 4, 5, 6), (1, 1, 1, 1)])
def test_expand(shape: tuple[int, ...], model_of: Build, holds: Holds) -> None:
    node = make_node("Expand", ["x", "s"], ["y"])
    holds(model_of([node], {"x": (1, 4, 1, 6)}, {"s": np.array(shape)}), batch=1)


def test_expand_of_an_image(model_of: Build, holds: Holds) -> None:
    node = make_node("Expand", ["x", "s"], ["y"])
    model = model_of([node], {"x": ("batch", 4, 1, 1)}, {"s": np.array([1, 4, 5, 6])}, layouts=NCHW)
    assert "TRANSPOSE" not in holds(model)


def test_tile(model_of: Build, holds: Holds) -> None:
    node = make_node("Tile", ["x", "r"], ["y"])
    assert "TRANSPOSE" not in holds(model_of([node], IMAGE, {"r": np.array([1, 2, 1, 3])}, layouts=NCHW))


@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_where(op: str, model_of: Build, holds: Holds) -> None:
    nodes = [
        make_node("Round", ["x"], ["r"]),
        make_node(op, ["r", "c"], ["b"]),
        make_node("Where", ["b", "x", "z"], ["y"]),
    ]
    weights = {"c": np.arange(-1, 3, dtype=np.float32).reshape(4, 1, 1)}
    model = model_of(nodes, {**IMAGE, "z": ("batch", 4, 1, 1)}, weights, layouts={**NCHW, "z": Layout.NCHW})
    assert "TRANSPOSE" not in holds(model)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str, model_of: Build, holds: Holds) -> None:
    nodes = [
        make_node("Greater", ["x", "zero"], ["a"]),
        make_node("Less", ["x", "one"], ["b"]),
        make_node(op, ["a", "b"], ["c"]),
        make_node("Not", ["c"], ["d"]),
        make_node("Cast", ["d"], ["y"], to=1),
    ]
    weights = {"zero": np.float32(0), "one": np.float32(1)}
    assert "TRANSPOSE" not in holds(model_of(nodes, IMAGE, weights, layouts=NCHW))


@pytest.mark.parametrize("to", [6, 7, 9, 2, 3, 5], ids=["int32", "int64", "bool", "uint8", "int8", "int16"])
def test_cast_there_and_back(to: int, model_of: Build, holds: Holds) -> None:
    nodes = [make_node("Cast", ["x"], ["c"], to=to), make_node("CastLike", ["c", "x"], ["y"])]
    holds(model_of(nodes, IMAGE, layouts=NCHW), low=0, high=100)
