"""ONNX files become Models: any opset, weights among the inputs or beside the file, open or fixed sizes, and parity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.core.errors import InvalidInputError, UnsupportedOpError
from edgekit.core.types import Layout
from edgekit.formats.importer import PARITY_LIMIT, import_model
from edgekit.ir.model import IR_VERSION, OPSET, Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.pipeline import child

Make = Callable[..., onnx.ModelProto]
Save = Callable[[onnx.ModelProto], Path]


def imported(path: Path, out: Path | None = None, **options: Any) -> tuple[Model, dict[str, Any]]:
    """The Model and the import's answer, after what must hold for every import."""
    folder = out or path.parent / "imported"
    folder.mkdir(exist_ok=True)
    answer = import_model(str(path), str(folder), **options)
    model = Model.load(folder / "model.onnx")
    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    assert answer["parity"]["max_relative"] <= PARITY_LIMIT
    assert model.proto.graph.opset_imports == {"": OPSET}
    assert model.proto.ir_version == IR_VERSION
    names = [node.name for node in model.graph]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(value.shape is not None for node in model.graph for value in node.outputs)
    return model, answer


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21, 24, 26])
def test_every_opset_that_the_runtime_reads(opset: int, convnet: Make, saved: Save) -> None:
    model, answer = imported(saved(convnet(opset=opset)))
    ops = [node.op_type for node in model.graph]
    assert ops == ["Conv", "BatchNormalization", "Relu", "MaxPool", "Reshape", "MatMul"]
    assert [node.name for node in model.graph][:3] == ["/conv/Conv", "/bn/BatchNormalization", "Relu_2"]
    assert answer["format"] == "onnx"
    assert answer["params"] == 8 * 27 + 8 + 4 * 8 + 128 * 5
    assert model.inputs[0].layout is Layout.NCHW
    assert model.outputs[0].layout is Layout.NC


@pytest.mark.parametrize(
    ("batch", "flat"),
    [(1, (1, 128)), (1, (1, -1)), (1, (-1, 128)), (1, (0, -1)), ("N", (-1, 128)), ("N", (0, -1))],
)
def test_a_batch_of_one_is_freed_and_no_reshape_names_it(
    batch: int | str, flat: tuple[int, int], convnet: Make, saved: Save
) -> None:
    model, _ = imported(saved(convnet(batch=batch, flat=flat)))
    assert model.inputs[0].shape == (None, 3, 8, 8)
    assert model.outputs[0].shape == (None, 5)
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    assert list(reshape.inputs[1].const_value.numpy()) == [0, 128]  # type: ignore[union-attr]
    feeds = probe(model, seed=3, samples=5)
    alone = [run(model, {"image": image[None]})["scores"] for image in feeds["image"]]
    assert max_relative(run(model, feeds), {"scores": np.concatenate(alone)}) < 1e-6


def test_a_batch_that_the_network_mixes_stays_fixed(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Add", ["centred", "w"], ["y"]),
    ]
    weights = {"w": np.ones(4, np.float32)}
    model, _ = imported(saved(onnx_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights, opset=13)))
    assert model.inputs[0].shape == (1, 4)


def test_a_fixed_batch_of_several_is_freed_or_refused(convnet: Make, onnx_model: Make, saved: Save) -> None:
    model, _ = imported(saved(convnet(batch=4, flat=(4, 128))))
    assert model.inputs[0].shape == (None, 3, 8, 8)
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=0),
    ]
    mixing = onnx_model(nodes, {"x": [3, 4]}, {"y": [3, 4]}, {"w": np.ones(4, np.float32)})
    with pytest.raises(InvalidInputError, match="batches of 3 only"):
        imported(saved(mixing))


def test_weights_among_the_inputs_are_no_inputs(convnet: Make, saved: Save) -> None:
    proto = convnet()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model, _ = imported(saved(proto))
    assert [spec.name for spec in model.inputs] == ["image"]


def test_open_sizes_are_asked_for_and_filled_in(convnet: Make, saved: Save) -> None:
    path = saved(convnet(batch="batch", size="size", flat=(-1, 128)))
    with pytest.raises(InvalidInputError, match="leaves the size of its input 'image' open") as caught:
        imported(path)
    assert "--input-shape image=1,3,224,224" in caught.value.remedy
    model, _ = imported(path, input_shapes={"image": [1, 3, 8, 8]})
    assert model.inputs[0].shape == (None, 3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"photo": [1, 3, 8, 8]}, "no input called 'photo'"),
        ({"image": [1, 4, 8, 8]}, "contradicts"),
        ({"image": [1]}, "contra"),
    ],
)
def test_a_wrong_input_shape_is_the_flags_fault(
    shapes: dict[str, list[int]], message: str, convnet: Make, saved: Save
) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        imported(saved(convnet()), input_shapes=shapes)
    assert caught.value.blame == "your --input-shape"


def test_shape_arithmetic_of_a_dynamic_export_folds_away(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["c", "target"], ["y"], "flatten"),
    ]
    weights = {
        "w": np.ones((2, 3, 1, 1), np.float32),
        "zero": np.array(0),
        "zeros": np.array([0]),
        "rest": np.array([-1]),
    }
    model, _ = imported(saved(onnx_model(nodes, {"x": ["b", 3, 4, 4]}, {"y": ["b", "d"]}, weights)))
    assert [node.name for node in model.graph] == ["conv", "flatten"]
    assert model.outputs[0].shape == (None, 32)


def test_external_data_beside_the_model(convnet: Make, tmp_path: Path) -> None:
    inside = tmp_path / "net"
    inside.mkdir()
    onnx.save(convnet(), inside / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    _, answer = imported(inside / "model.onnx")
    assert answer["params"] == 896
    (inside / "weights.bin").unlink()
    with pytest.raises(InvalidInputError, match="needs the file"):
        imported(inside / "model.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_models_folder_is_refused(
    location: str, convnet: Make, saved: Save, tmp_path: Path
) -> None:
    (tmp_path.parent / "secret.bin").write_bytes(b"\0" * 4096)
    proto = convnet()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(InvalidInputError, match="outside its own folder"):
        imported(saved(proto))


def test_double_precision_becomes_single(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.DOUBLE),
        helper.make_node("Sigmoid", ["c"], ["y"]),
    ]
    weights = {"w": np.random.default_rng(0).standard_normal((4, 2))}
    proto = onnx_model(nodes, {"x": ["n", 4]}, {"y": ["n", 2]}, weights, dtype=TensorProto.DOUBLE)
    model, _ = imported(saved(proto))
    assert {spec.dtype for spec in (*model.inputs, *model.outputs)} == {"float32"}


def test_half_precision_is_refused(onnx_model: Make, saved: Save) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.ones((4, 2), np.float16)}
    proto = onnx_model(nodes, {"x": ["n", 4]}, {"y": ["n", 2]}, weights, dtype=TensorProto.FLOAT16)
    with pytest.raises(InvalidInputError, match="half precision"):
        imported(saved(proto))


def test_weights_that_are_only_stored_in_half_precision_are_fine(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "single"], ["y"], "fc"),
    ]
    proto = onnx_model(nodes, {"x": ["n", 4]}, {"y": ["n", 2]}, {"w": np.ones((4, 2), np.float16)})
    model, _ = imported(saved(proto))
    assert [node.op_type for node in model.graph] == ["MatMul"]


def test_several_inputs_and_outputs_with_integers(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["e"], "embed"),
        helper.make_node("Add", ["e", "x"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["positive"], "relu"),
    ]
    table = {"table": np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)}
    proto = onnx_model(nodes, {"token": ["n"], "x": ["n", 4]}, {"sum": ["n", 4], "positive": ["n", 4]}, table)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model, _ = imported(saved(proto))
    assert [(spec.name, spec.shape, spec.dtype) for spec in model.inputs] == [
        ("token", (None,), "int64"),
        ("x", (None, 4), "float32"),
    ]
    assert [spec.name for spec in model.outputs] == ["sum", "positive"]


def test_functions_of_the_model_are_inlined(onnx_model: Make, saved: Save) -> None:
    body = [helper.make_node("Mul", ["a", "b"], ["m"]), helper.make_node("Relu", ["m"], ["r"])]
    function = helper.make_function("mine", "Scale", ["a", "b"], ["r"], body, [helper.make_opsetid("", 18)])
    nodes = [helper.make_node("Scale", ["x", "w"], ["y"], "scale", domain="mine")]
    weights = {"w": np.ones(4, np.float32)}
    proto = onnx_model(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, weights, functions=[function], domains=["mine"])
    model, _ = imported(saved(proto))
    assert [node.op_type for node in model.graph] == ["Mul", "Relu"]


def test_operators_that_no_model_holds_are_spelled_out(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("Attention", ["x", "x", "x"], ["a"], "attention"),
        helper.make_node("GroupNormalization", ["a", "s", "b"], ["g"], "norm", num_groups=2),
        helper.make_node("Gelu", ["g"], ["y"], "gelu"),
    ]
    random = np.random.default_rng(0)
    weights = {"s": random.random(4, np.float32), "b": random.random(4, np.float32)}
    proto = onnx_model(nodes, {"x": [1, 4, 3, 3]}, {"y": [1, 4, 3, 3]}, weights, opset=23)
    model, _ = imported(saved(proto))
    operators = {node.op_type for node in model.graph}
    assert "Attention" not in operators
    assert {"GroupNormalization", "Gelu"} <= operators
    assert model.inputs[0].shape == (None, 4, 3, 3)


def test_a_branch_that_constants_decide_is_taken(onnx_model: Make, saved: Save) -> None:
    model, _ = imported(saved(_branching(onnx_model, constant=True)))
    assert [node.op_type for node in model.graph] == ["Relu", "Mul"]


def _branching(onnx_model: Make, *, constant: bool) -> onnx.ModelProto:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Relu"), ("else", "Tanh"))
    }
    nodes = [helper.make_node("If", ["cond"], ["z"], "branch", **branches), helper.make_node("Mul", ["z", "w"], ["y"])]
    weights: dict[str, np.ndarray[Any, Any]] = {"w": np.full(4, 2, np.float32)}
    if constant:
        weights["cond"] = np.array(True)
    else:
        weights["limit"] = np.array(0, np.float32)
        nodes[:0] = [
            helper.make_node("ReduceMax", ["x"], ["max"], keepdims=0),
            helper.make_node("Greater", ["max", "limit"], ["cond"]),
        ]
    return onnx_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights)


def test_control_flow_that_depends_on_the_input_is_refused(onnx_model: Make, saved: Save) -> None:
    with pytest.raises(UnsupportedOpError, match="'branch' is a If"):
        imported(saved(_branching(onnx_model, constant=False)))


@pytest.mark.parametrize(
    ("op", "domain", "message"),
    [
        ("Frobnicate", "", "'odd' is a Frobnicate, which is unknown to ONNX"),
        ("FusedGemm", "com.microsoft", "com.microsoft.FusedGemm, which is not part of the ONNX standard"),
        ("RandomNormalLike", "", "draws random numbers"),
    ],
)
def test_operators_that_no_model_can_hold(op: str, domain: str, message: str, onnx_model: Make, saved: Save) -> None:
    nodes = [helper.make_node("Add", ["x", "w"], ["a"]), helper.make_node(op, ["a"], ["y"], "odd", domain=domain)]
    weights = {"w": np.ones(4, np.float32)}
    proto = onnx_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights, domains=[domain] if domain else [])
    with pytest.raises(UnsupportedOpError, match=message) as caught:
        imported(saved(proto))
    assert op in caught.value.remedy


def test_integer_operators_are_refused(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["r"]),
        helper.make_node("Mul", ["r", "w"], ["y"]),
    ]
    proto = onnx_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, {"w": np.array(0.1, np.float32)})
    with pytest.raises(InvalidInputError, match="the layer 'quantize' is a DynamicQuantizeLinear"):
        imported(saved(proto))


def test_a_shape_that_depends_on_the_data_is_refused(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["m"]),
        helper.make_node("NonZero", ["m"], ["i"], "find"),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    proto = onnx_model(nodes, {"x": [1, 4]}, {"y": [2, "found"]}, {"w": np.ones(4, np.float32)})
    with pytest.raises(UnsupportedOpError, match=r"'find' \(NonZero\) gives depends on the data"):
        imported(saved(proto))


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "'fc.weight' hold 1 NaN"), (np.inf, "'fc.weight' hold 1 NaN or infinite"), (None, "every weight")],
)
def test_weights_that_are_not_numbers(value: float | None, message: str, convnet: Make, saved: Save) -> None:
    proto = convnet()
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).copy()
        if array.dtype == np.float32 and (value is None or tensor.name == "fc.weight"):
            array.flat[: 1 if value is not None else None] = value or 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    with pytest.raises(InvalidInputError, match=message):
        imported(saved(proto))


def test_a_model_without_weights(onnx_model: Make, saved: Save) -> None:
    proto = onnx_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 4]}, {"y": [1, 4]}, {})
    with pytest.raises(InvalidInputError, match="no weights"):
        imported(saved(proto))


def test_infinite_bounds_and_masks_are_weights_too(onnx_model: Make, saved: Save) -> None:
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "mask"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"]),
    ]
    weights = {"w": np.ones(4, np.float32), "mask": np.array([0, 0, -np.inf, 0], np.float32)}
    imported(saved(onnx_model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights)))


def test_the_same_file_gives_the_same_bytes(convnet: Make, saved: Save, tmp_path: Path) -> None:
    path = saved(convnet())
    files = []
    for name in ("first", "second"):
        imported(path, tmp_path / name)
        files.append((tmp_path / name / "model.onnx").read_bytes())
    assert files[0] == files[1]


def test_errors_keep_their_meaning_through_the_child_process(convnet: Make, saved: Save, tmp_path: Path) -> None:
    path = saved(convnet())
    arguments = {"source": path, "out": tmp_path, "input_shapes": {"photo": [1]}}
    with pytest.raises(InvalidInputError, match="no input called 'photo'"):
        child.call("edgekit.formats.importer:import_model", arguments, what="importing", blame="your model")


@pytest.mark.acceptance
def test_ultraface_has_one_input_and_is_exact(acceptance_data: Path, tmp_path: Path) -> None:
    model, answer = imported(acceptance_data / "ultraface" / "version-slim-320_simplified.onnx", tmp_path)
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("input", (None, 3, 240, 320))]
    assert [spec.name for spec in model.outputs] == ["scores", "boxes"]
    assert answer["parity"]["max_relative"] < 1e-6
