"""The runtimes behind the bench script: their answers, their accounts, their options, and delegates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from tests.scripts.files import convolution, save_npz
from tests.scripts.script import bench, load_script

# Makes a float and an integer .tflite of one network, in the one TensorFlow process of this module.
_MAKE_TFLITE = """
import sys
import time
from pathlib import Path
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
kernel = tf.constant(rng.normal(size=(3, 3, 3, 8)).astype("float32") * 0.3)
dense = tf.constant(rng.normal(size=(8 * 8 * 8, 4)).astype("float32") * 0.1)

@tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], name="image"), tf.TensorSpec([1, 4], name="bias")])
def network(image, bias):
    features = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
    return {"logits": tf.reshape(features, [1, 512]) @ dense + bias}

module = tf.Module()
module.network = network
samples = np.load(sys.argv[1])
for kind in ("float", "int8"):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], module)
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {name: samples[name][i : i + 1] for name in ("image", "bias")} for i in range(20)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(sys.argv[2], kind + ".tflite").write_bytes(converter.convert())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtimes")


@pytest.fixture(scope="module")
def images(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(20, 8, 8, 3)).astype(np.float32)
    return save_npz(folder / "images.npz", image=image, bias=rng.normal(size=(20, 4)).astype(np.float32))


@pytest.fixture(scope="module")
def tflite(folder: Path, images: Path) -> Path:
    """The folder of float.tflite and int8.tflite."""
    (folder / "make.py").write_text(_MAKE_TFLITE)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(folder / "make.py"), str(images), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder


def test_integer_inputs_and_outputs_are_fed_and_read_in_float(tflite: Path, images: Path) -> None:
    """Both artifacts answer the golden samples; the inputs go by the names of the model's signature."""
    document, process = bench(
        tflite / "float.tflite", "--against", tflite / "int8.tflite", "--golden", images, "--no-timing",
        "--golden-outputs", tflite / "golden",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert document["runtime"]["name"] == "ai_edge_litert"
    assert [[i["dtype"] for i in artifact["inputs"]] for artifact in document["artifacts"]] == [
        ["float32", "float32"],
        ["int8", "int8"],
    ]
    real, integer = (np.load(tflite / "golden" / f"{index}.npz") for index in (0, 1))
    (name,) = real.files
    assert real[name].shape == integer[integer.files[0]].shape == (20, 4)
    error = real[name] - integer[integer.files[0]]
    assert 10 * np.log10(np.sum(real[name] ** 2) / np.sum(error**2)) > 25


def test_tflite_tells_stored_and_computed_types_and_what_its_delegate_took(tflite: Path) -> None:
    document, _ = bench(tflite / "int8.tflite", "--against", tflite / "float.tflite", "--no-timing")
    integer, real = (artifact["account"] for artifact in document["artifacts"])
    weights = 3 * 3 * 3 * 8 + 512 * 4
    assert integer["weights"] == {"int8": weights}
    assert real["weights"] == {"float32": 4 * weights}
    (convolution,) = [entry for entry in integer["compute"] if entry["op"] == "CONV_2D"]
    assert convolution == {"op": "CONV_2D", "precision": "int8", "count": 1, "delegated": 1}
    assert {entry["precision"] for entry in real["compute"] if entry["op"] == "CONV_2D"} == {"float32"}


def test_arrays_under_other_names_are_taken_in_order(tflite: Path, images: Path) -> None:
    data = np.load(images)
    renamed = save_npz(tflite / "renamed.npz", first=data["bias"], second=data["image"])  # the file's own order
    named, _ = bench(tflite / "float.tflite", "--inputs", images, "--no-timing")
    ordered, process = bench(tflite / "float.tflite", "--inputs", renamed, "--no-timing")
    assert process.returncode == 0, process.stderr
    assert ordered["outputs"] == named["outputs"]


def test_openvino_takes_options_and_an_unknown_one_is_refused(folder: Path) -> None:
    model = convolution(folder / "options.onnx", 16)
    document, _ = bench(f"{model}?INFERENCE_PRECISION_HINT=f32", "--runtime", "openvino", "--no-timing")
    assert document["artifacts"][0]["options"] == {"INFERENCE_PRECISION_HINT": "f32"}
    computed = {e["op"]: e["precision"] for e in document["artifacts"][0]["account"]["compute"]}
    assert computed["Convolution"] == "float32"
    document, process = bench(f"{model}?SPEED=warp", "--runtime", "openvino", "--no-timing")
    assert (process.returncode, document["error"]["error"]) == (2, "UsageError")


def test_onnxruntime_runs_a_quantized_network_as_it_is_written(tmp_path: Path) -> None:
    """Left alone it puts integer kernels in its place, which cut sums off on CPUs without VNNI."""
    model = quantized_product(tmp_path / "qdq.onnx")
    as_written, process = bench(f"{model}?session.disable_quant_qdq=1", "--no-timing")
    assert process.returncode == 0, process.stderr
    left_alone, _ = bench(model, "--no-timing")
    ran = [{e["op"] for e in d["artifacts"][0]["account"]["compute"]} for d in (as_written, left_alone)]
    assert {"DequantizeLinear", "QuantizeLinear"} <= ran[0]
    assert not {"QLinearMatMul", "MatMulIntegerToFloat"} & ran[0]
    assert {"QLinearMatMul", "MatMulIntegerToFloat"} & ran[1]
    document, process = bench(f"{model}?session.other=1", "--no-timing")
    assert (process.returncode, document["error"]["error"]) == (2, "UsageError")


def test_onnxruntime_tells_what_an_onnx_file_stores_and_which_products_are_of_integers(tmp_path: Path) -> None:
    model = quantized_product(tmp_path / "qdq.onnx")
    stated = {
        name: bench(f"{model}{options}", "--no-timing")[0]["artifacts"][0]["account"]
        for name, options in (("integer", ""), ("float", "?session.disable_quant_qdq=1"))
    }
    for account in stated.values():
        assert account["storage"] == {"float32": 4, "int8": 1 + 8 * 4}
        assert account["weights"] == {"int8": 8 * 4}
    products = {
        name: {entry["precision"] for entry in account["compute"] if "MatMul" in entry["op"]}
        for name, account in stated.items()
    }
    assert products["integer"] <= {"int8", "uint8"}
    assert products["float"] == {"float32"}


def quantized_product(path: Path) -> Path:
    """X · W, both by way of int8."""
    integers = {"z": np.array(0, np.int8), "w": np.ones((8, 4), np.int8)}
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        make_node("MatMul", ["d", "v"], ["y"]),
    ]
    graph = make_graph(
        nodes,
        "product",
        [make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
        [make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [from_array(np.array(0.1, np.float32), "s"), *(from_array(value, name) for name, value in integers.items())],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def takes_nodes(folder: Path) -> Path:
    """A real delegate, which takes as many nodes as its option says: see external_delegate.c."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("not on this machine: no C compiler (cc)")
    library = folder / "libtakes.so"
    source = Path(__file__).with_name("external_delegate.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


def delegated(document: dict[str, Any]) -> dict[str, Any]:
    (artifact,) = document["artifacts"]
    found: dict[str, Any] = artifact["delegate"]
    return found


def test_tflite_runs_with_its_default_delegate_or_without(tflite: Path) -> None:
    default, _ = bench(tflite / "float.tflite", "--no-timing")
    asked, _ = bench(tflite / "float.tflite", "--no-timing", "--delegate", "xnnpack")
    without, _ = bench(tflite / "float.tflite", "--no-timing", "--delegate", "none")
    nodes = delegated(default)["nodes"]
    assert delegated(default) == {"asked": None, "applied": {"xnnpack": nodes}, "nodes": nodes}
    assert delegated(asked) == {"asked": "xnnpack", "applied": {"xnnpack": nodes}, "nodes": nodes}
    assert delegated(without) == {"asked": "none", "applied": {}, "nodes": nodes}
    ran = [sum(op["delegated"] for op in d["artifacts"][0]["account"]["compute"]) for d in (default, without)]
    assert ran == [nodes, 0]


def test_a_delegate_in_a_library_is_told_from_the_default_one_behind_it(tflite: Path, takes_nodes: Path) -> None:
    document, process = bench(tflite / "float.tflite", "--no-timing", "--delegate", f"{takes_nodes}?nodes=1")
    assert process.returncode == 0, process.stderr
    nodes = delegated(document)["nodes"]
    applied = {"libtakes.so": 1, "xnnpack": nodes - 1}
    assert delegated(document) == {"asked": "libtakes.so", "applied": applied, "nodes": nodes}


@pytest.mark.parametrize(
    ("runtime", "delegate", "told"),
    [
        ("ai_edge_litert", "{folder}/libtakes.so", "libtakes.so was not applied: what runs it is xnnpack"),
        ("ai_edge_litert", "./nowhere.so", "nowhere.so was not applied: ./nowhere.so: cannot open"),
        ("openvino", "NPU", "NPU was not applied: OpenVINO finds "),
        ("onnxruntime", "TensorrtExecutionProvider", "was not applied: this ONNX Runtime has "),
        # It is there, and takes no node.
        ("onnxruntime", "AzureExecutionProvider", "was not applied: what runs it is the CPU alone"),
    ],
)
@pytest.mark.usefixtures("tflite", "takes_nodes")
def test_a_delegate_that_was_asked_for_and_runs_nothing_breaks_a_promise(
    runtime: str, delegate: str, told: str, folder: Path
) -> None:
    lite = runtime == "ai_edge_litert"
    model = folder / "float.tflite" if lite else convolution(folder / "delegated.onnx", 16)
    arguments = ["--runtime", runtime, "--no-timing", "--delegate", delegate.format(folder=folder)]
    document, process = bench(model, *arguments)
    assert (process.returncode, document["error"]["error"]) == (11, "BrokenPromiseError")
    assert told in document["error"]["cause"]
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(("runtime", "name"), [("openvino", "CPU"), ("onnxruntime", "CPUExecutionProvider")])
def test_the_cpu_may_be_asked_for_by_name(runtime: str, name: str, folder: Path) -> None:
    model = convolution(folder / "plain.onnx", 16)
    document, process = bench(model, "--runtime", runtime, "--no-timing", "--delegate", name)
    assert process.returncode == 0, process.stderr
    assert delegated(document)["asked"] == name
    assert delegated(document)["applied"] == {}


def test_each_operator_is_timed_under_the_name_that_the_artifact_keeps(tflite: Path, folder: Path) -> None:
    model = convolution(folder / "timed.onnx", 16)
    timed = {
        "tflite": (tflite / "int8.tflite",),
        "onnxruntime": (model,),
        "openvino": (model, "--runtime", "openvino"),
    }
    for runtime, arguments in timed.items():
        document, process = bench(*arguments, "--profile", 20, "--no-timing")
        assert process.returncode == 0, process.stderr
        profile = document["profile"]
        assert profile["runs"] == 20
        (convolved,) = [op for op in profile["ops"] if op["op"].startswith("Conv") and "Convert" not in op["op"]]
        assert convolved["us"] >= 0
        assert convolved["names"], runtime
        if runtime != "tflite":
            # ONNX Runtime runs it in a layout of its own, and calls that after the result.
            assert {"conv", "y"} & set(convolved["names"])
            assert convolved["us"] > 0
    assert bench(tflite / "float.tflite", "--no-timing")[0]["profile"] is None


def test_a_runtime_without_an_account_of_times_says_so(tflite: Path) -> None:
    """LiteRT's profiler is that of its compiled model, which runs XNNPACK."""
    document, _ = bench(tflite / "float.tflite", "--profile", 5, "--delegate", "none", "--no-timing")
    assert document["profile"]["ops"] == []
    assert "ai_edge_litert" in document["profile"]["note"]


def test_operators_of_a_delegate_are_nodes_of_the_file_where_there_are_as_many() -> None:
    script = load_script()
    nodes = [("CONV_2D", ["a"]), ("RESHAPE", ["b"]), ("DEPTHWISE_CONV_2D", ["c"]), ("FULLY_CONNECTED", ["d"])]
    run = [("Convolution (IGEMM)", 8, 0, 5), ("Convolution (DWConv)", 8, 1, 3), ("Fully Connected", 8, 2, 1)]
    named = script.litert_ops([[("Invoke", 1, 0, 9), *run]] * 4, nodes)
    assert [(op.names, op.us[0]) for op in named] == [(["a"], 5.0), (["c"], 3.0), (["d"], 1.0)]
    # One of them was split: which is which, nobody can tell.
    more = script.litert_ops([[*run, ("Convolution (GEMM)", 8, 3, 2)]] * 4, nodes)
    assert [op.names for op in more] == [[], [], ["d"], []]
    with pytest.raises(script.NoProfile, match="no operators"):
        script.litert_ops([[("Invoke", 1, 0, 9)]], nodes)
