"""Resize, ConvTranspose, DepthToSpace and SpaceToDepth against ONNX Runtime."""

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


def resized(build: Build, height: int, width: int, **attributes: Any) -> Model:
    node = make_node("Resize", ["x", "", "", "sizes"], ["y"], axes=[2, 3], **attributes)
    return build([node], IMAGE, {"sizes": np.array([height, width])}, layouts=NCHW)


BILINEAR = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("transformation", BILINEAR)
@pytest.mark.parametrize("sizes", [(10, 12), (7, 9), (3, 4), (1, 6)])
def test_linear_is_tflites_own_op(transformation: str, sizes: tuple[int, int], model_of: Build, holds: Holds) -> None:
    ops = holds(resized(model_of, *sizes, mode="linear", coordinate_transformation_mode=transformation))
    assert ops == ["RESIZE_BILINEAR"] or sizes[0] == 1


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "floor"])
@pytest.mark.parametrize("transformation", ["half_pixel", "asymmetric"])
def test_nearest_by_whole_factors_is_tflites_own_op(
    transformation: str, rounding: str, model_of: Build, holds: Holds
) -> None:
    attributes = {"coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    ops = holds(resized(model_of, 10, 18, mode="nearest", **attributes))
    assert ops == ["RESIZE_NEAREST_NEIGHBOR"] or (transformation, rounding) != ("asymmetric", "floor")


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("transformation", ["half_pixel", "align_corners", "asymmetric"])
def test_nearest_by_any_factor(transformation: str, rounding: str, model_of: Build, holds: Holds) -> None:
    attributes = {"coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    assert "TRANSPOSE" not in holds(resized(model_of, 7, 3, mode="nearest", **attributes))


@pytest.mark.parametrize("transformation", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("sizes", [(10, 12), (3, 4)])
def test_cubic(transformation: str, sizes: tuple[int, int], model_of: Build, holds: Holds) -> None:
    ops = holds(resized(model_of, *sizes, mode="cubic", coordinate_transformation_mode=transformation))
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialiased(mode: str, model_of: Build, holds: Holds) -> None:
    holds(resized(model_of, 3, 4, mode=mode, antialias=1))


@pytest.mark.parametrize("scale", [2.0, 1.5, 0.6])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_resize_by_scales(mode: str, scale: float, model_of: Build, holds: Holds) -> None:
    node = make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    weights = {"scales": np.array([1, 1, scale, scale], np.float32)}
    assert "TRANSPOSE" not in holds(model_of([node], IMAGE, weights, layouts=NCHW))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_resize_of_a_sequence(mode: str, model_of: Build, holds: Holds) -> None:
    node = make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    holds(model_of([node], {"x": ("batch", 3, 5)}, {"scales": np.array([1, 1, 2], np.float32)}))


def test_crop_and_resize(model_of: Build, holds: Holds) -> None:
    node = make_node(
        "Resize",
        ["x", "roi", "", "sizes"],
        ["y"],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.0,
    )
    weights = {"roi": np.array([0, 0, 0.2, -0.3, 1, 1, 1.2, 0.7], np.float32), "sizes": np.array([2, 4, 3, 5])}
    holds(model_of([node], {"x": (2, 4, 5, 6)}, weights, layouts=NCHW))


TRANSPOSED: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "plain": ({}, (4, 5, 3, 3)),
    "doubling": ({"strides": [2, 2]}, (4, 5, 2, 2)),
    "doubling, same": ({"strides": [2, 2], "pads": [1, 1, 1, 1]}, (4, 5, 4, 4)),
    "output padding": ({"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, (4, 5, 3, 3)),
    "unequal padding": ({"strides": [2, 3], "pads": [0, 1, 1, 2]}, (4, 5, 3, 4)),
    "padding at stride 1": ({"pads": [2, 2, 2, 2]}, (4, 5, 3, 3)),
    "SAME_UPPER": ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (4, 5, 3, 3)),
    "SAME_LOWER": ({"strides": [2, 2], "auto_pad": "SAME_LOWER"}, (4, 5, 3, 3)),
    "output shape": ({"strides": [2, 2], "output_shape": [11, 12]}, (4, 5, 3, 3)),
    "dilated": ({"strides": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}, (4, 5, 3, 3)),
    "grouped": ({"strides": [2, 2], "group": 2, "pads": [1, 1, 1, 1]}, (4, 3, 4, 4)),
    "depthwise": ({"strides": [2, 2], "group": 4, "output_padding": [1, 0]}, (4, 1, 3, 3)),
    "depthwise with multiplier": ({"strides": [2, 1], "group": 4}, (4, 2, 3, 3)),
    "grouped with much padding": ({"group": 2, "pads": [2, 2, 2, 2]}, (4, 3, 2, 2)),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose(case: str, bias: bool, model_of: Build, holds: Holds) -> None:
    attributes, kernel = TRANSPOSED[case]
    weights = {"w": floats(*kernel)} | ({"b": floats(kernel[1] * attributes.get("group", 1))} if bias else {})
    ops = holds(
        model_of([make_node("ConvTranspose", ["x", *weights], ["y"], **attributes)], IMAGE, weights, layouts=NCHW)
    )
    assert "TRANSPOSE" not in ops


@pytest.mark.parametrize("attributes", [{}, {"strides": [2], "pads": [1, 0]}, {"strides": [2], "group": 4}])
def test_conv_transpose_of_a_sequence(attributes: dict[str, Any], model_of: Build, holds: Holds) -> None:
    kernel = floats(4, 1 if "group" in attributes else 3, 3)
    holds(
        model_of([make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)], {"x": ("batch", 4, 7)}, {"w": kernel})
    )


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str, model_of: Build, holds: Holds) -> None:
    node = make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode=mode)
    ops = holds(model_of([node], {"x": ("batch", 8, 3, 4)}, layouts=NCHW))
    assert ops == ([] if mode == "DCR" else ["GATHER"]) + ["DEPTH_TO_SPACE"]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_pixel_shuffle_behind_a_convolution_costs_nothing(bias: bool, model_of: Build, holds: Holds) -> None:
    weights = {"w": floats(8, 4, 3, 3)} | ({"b": floats(8)} if bias else {})
    nodes = [
        make_node("Conv", ["x", *weights], ["c"]),
        make_node("DepthToSpace", ["c"], ["y"], blocksize=2, mode="CRD"),
    ]
    assert holds(model_of(nodes, IMAGE, weights, layouts=NCHW)) == ["CONV_2D", "DEPTH_TO_SPACE"]


def test_a_convolution_read_twice_keeps_its_channels(model_of: Build, holds: Holds) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("DepthToSpace", ["c"], ["y"], blocksize=2, mode="CRD"),
        make_node("Relu", ["c"], ["z"]),
    ]
    layouts = {**NCHW, "z": Layout.NCHW}
    holds(model_of(nodes, IMAGE, {"w": floats(8, 4, 3, 3)}, outputs=("y", "z"), layouts=layouts))


def test_space_to_depth(model_of: Build, holds: Holds) -> None:
    node = make_node("SpaceToDepth", ["x"], ["y"], blocksize=2)
    assert holds(model_of([node], {"x": ("batch", 3, 4, 6)}, layouts=NCHW)) == ["SPACE_TO_DEPTH"]
