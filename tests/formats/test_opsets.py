"""Every opset from 9 to the newest that ONNX Runtime reads, each operator in the form that it had there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import InvalidInputError
from edgekit.formats.importer import PARITY_LIMIT, import_model
from edgekit.ir.model import OPSET, Model

NEWEST_OF_THE_RUNTIME = 26
Make = Callable[..., onnx.ModelProto]
Save = Callable[[onnx.ModelProto], Path]
Nodes = list[onnx.NodeProto]


class Opset:
    """Nodes in the form of one opset; what became an input later is an attribute before."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.weights: dict[str, np.ndarray[Any, Any]] = {}

    def constant(self, *values: float, dtype: Any = np.int64) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights[name] = np.array(values, dtype)
        return name

    def scalar(self, value: float) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights[name] = np.array(value, np.float32)
        return name

    def upsample(self, x: str, y: str) -> Nodes:
        scales = self.constant(1, 1, 2, 2, dtype=np.float32)
        if self.version < 10:
            return [helper.make_node("Upsample", [x, scales], [y], mode="nearest")]
        if self.version < 11:
            return [helper.make_node("Resize", [x, scales], [y], mode="nearest")]
        region = "" if self.version >= 13 else self.constant(dtype=np.float32)
        return [
            helper.make_node(
                "Resize", [x, region, scales], [y], mode="nearest", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ]  # fmt: skip

    def clip(self, x: str, y: str) -> Nodes:
        if self.version < 11:
            return [helper.make_node("Clip", [x], [y], min=0.0, max=6.0)]
        return [helper.make_node("Clip", [x, self.scalar(0.0), self.scalar(6.0)], [y])]

    def pad(self, x: str, y: str) -> Nodes:
        pads = (0, 0, 1, 0, 0, 0, 0, 2)
        if self.version < 11:
            return [helper.make_node("Pad", [x], [y], mode="constant", pads=pads, value=0.5)]
        return [helper.make_node("Pad", [x, self.constant(*pads), self.scalar(0.5)], [y])]

    def slice(self, x: str, y: str) -> Nodes:
        if self.version < 10:
            return [helper.make_node("Slice", [x], [y], axes=[2, 3], starts=[1, 0], ends=[9223372036854775807, -2])]
        bounds = [self.constant(1, 0), self.constant(2**63 - 1, -2), self.constant(2, 3)]
        return [helper.make_node("Slice", [x, *bounds], [y])]

    def squeeze(self, x: str, y: str) -> Nodes:
        return self._with_axes("Unsqueeze", x, f"{x}_wide", [1]) + self._with_axes("Squeeze", f"{x}_wide", y, [1])

    def reduce(self, x: str, y: str) -> Nodes:
        named = self._with_axes if self.version >= 18 else self._with_axes_attribute
        mean = named("ReduceMean", x, f"{x}_mean", [2], keepdims=1)
        return [*mean, *self._with_axes("ReduceSum", f"{x}_mean", y, [3], keepdims=1)]

    def split(self, x: str, y: str) -> Nodes:
        parts = [f"{x}_{side}" for side in ("left", "right")]
        if self.version < 13:
            node = helper.make_node("Split", [x], parts, axis=1, split=[1, 2])
        else:
            node = helper.make_node("Split", [x, self.constant(1, 2)], parts, axis=1)
        return [node, helper.make_node("Concat", parts[::-1], [y], axis=1)]

    def dropout(self, x: str, y: str) -> Nodes:
        if self.version < 12:
            return [helper.make_node("Dropout", [x], [y], ratio=0.5)]
        return [helper.make_node("Dropout", [x, self.scalar(0.5)], [y])]

    def softmax(self, x: str, y: str) -> Nodes:
        """Before opset 13 over everything from the axis on, which is what its default axis 1 means here."""
        return [helper.make_node("Softmax", [x], [y], axis=1)]

    def constants(self, x: str, y: str) -> Nodes:
        value = numpy_helper.from_array(np.array([[[2.0]]], np.float32))
        return [
            helper.make_node("Constant", [], [f"{x}_two"], value=value),
            helper.make_node("Identity", [x], [f"{x}_same"]),
            helper.make_node("Mul", [f"{x}_same", f"{x}_two"], [y]),
        ]

    def norm(self, x: str, y: str) -> Nodes:
        parts = [self.constant(*np.linspace(low, low + 1, 3), dtype=np.float32) for low in (0.5, -1, -0.5, 0.25)]
        return [helper.make_node("BatchNormalization", [x, *parts], [y], epsilon=1e-3)]

    def _with_axes(self, op: str, x: str, y: str, axes: list[int], **attributes: Any) -> Nodes:
        if self.version < 13:
            return self._with_axes_attribute(op, x, y, axes, **attributes)
        return [helper.make_node(op, [x, self.constant(*axes)], [y], **attributes)]

    def _with_axes_attribute(self, op: str, x: str, y: str, axes: list[int], **attributes: Any) -> Nodes:
        return [helper.make_node(op, [x], [y], axes=axes, **attributes)]


FORMS = ("clip", "constants", "dropout", "norm", "pad", "reduce", "slice", "softmax", "split", "squeeze", "upsample")


@pytest.mark.parametrize("version", range(9, NEWEST_OF_THE_RUNTIME + 1))
def test_the_forms_of_an_opset(version: int, onnx_model: Make, saved: Save) -> None:
    """All forms in one network, each on the same tensor, so that none hides behind another."""
    forms = Opset(version)
    nodes = [helper.make_node("Relu", ["x"], ["h"])]
    nodes += [node for form in FORMS for node in getattr(forms, form)("h", f"y_{form}")]
    shapes = {f"y_{form}": [None] * 4 for form in FORMS}
    proto = onnx_model(nodes, {"x": ["N", 3, 4, 5]}, shapes, forms.weights, opset=version)
    _list_weights_as_inputs(proto, version)
    path = saved(proto)
    answer = import_model(str(path), str(path.parent))
    model = Model.load(path)
    assert answer["parity"]["max_relative"] <= PARITY_LIMIT
    assert model.proto.graph.opset_imports == {"": OPSET}
    assert [spec.name for spec in model.inputs] == ["x"]
    assert all(spec.shape[0] is None for spec in model.outputs)
    ops = {node.op_type for node in model.graph}
    assert not ops & {"Upsample", "Dropout", "Identity", "Constant"}
    assert "BatchNormalization" in ops


def _list_weights_as_inputs(proto: onnx.ModelProto, version: int) -> None:
    """As exporters of IR version 3 did."""
    if version < 10:
        proto.ir_version = 4
        for tensor in proto.graph.initializer:
            proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def test_a_softmax_over_several_axes(onnx_model: Make, saved: Save) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=1)]
    proto = onnx_model(nodes, {"x": ["N", 3, 4]}, {"y": ["N", 3, 4]}, {"w": np.ones(4, np.float32)}, opset=11)
    path = saved(proto)
    assert import_model(str(path), str(path.parent))["parity"]["max_relative"] <= PARITY_LIMIT


@pytest.mark.parametrize("version", [NEWEST_OF_THE_RUNTIME + 1, onnx.defs.onnx_opset_version()])
def test_what_the_runtime_does_not_read_says_which_opset_to_export(version: int, convnet: Make, saved: Save) -> None:
    path = saved(convnet(opset=version))
    with pytest.raises(InvalidInputError, match=f"is in opset {version}, .* up to {NEWEST_OF_THE_RUNTIME}") as caught:
        import_model(str(path), str(path.parent))
    assert "opset_version=" in caught.value.remedy


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_a_branch_left_over_from_squeeze(dtype: int, onnx_model: Make, saved: Save) -> None:
    """PyTorch asks at run time whether the axis has one element, though the shape says so."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, inputs, [name])], name, [], [helper.make_tensor_value_info(name, dtype, None)]
        )
        for name, op, inputs in (("then", "Squeeze", ["c", "axes"]), ("else", "Identity", ["c"]))
    }
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["size"]),
        helper.make_node("Equal", ["size", "one"], ["is_one"]),
        helper.make_node("If", ["is_one"], ["y"], **branches),
    ]
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    weights = {"w": np.ones(4, kind), "axes": np.array([1]), "one": np.array(1)}
    path = saved(onnx_model(nodes, {"x": ["N", 1, 4]}, {"y": ["N", 4]}, weights, opset=16, dtype=dtype))
    import_model(str(path), str(path.parent))
    assert [node.op_type for node in Model.load(path).graph] == ["Mul", "Squeeze"]
