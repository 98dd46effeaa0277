"""Damaged and hostile model files: one clear error each, no code run, nothing written outside."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest

from edgekit.core.errors import InvalidInputError
from edgekit.formats import detect
from edgekit.formats.importer import import_model
from edgekit.formats.keras.scan import scan_keras_file
from tests.formats.conftest import QUIET

MUTATIONS = 260


def keras_archive(path: Path, config: Any, members: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        for name, content in (members or {}).items():
            archive.writestr(name, content)
    return path


def layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": {"name": "odd", **config}}


def test_random_damage_ends_in_parity_or_in_an_error_of_ours(
    convnet: Callable[..., onnx.ModelProto], saved: Callable[[onnx.ModelProto], Path], tmp_path: Path
) -> None:
    survive(saved(convnet(opset=13)), tmp_path, MUTATIONS)


def test_random_damage_to_a_tflite_file(tensorflow_folder: Path, tmp_path: Path) -> None:
    survive(tensorflow_folder / "float.tflite", tmp_path, MUTATIONS // 5)


def survive(path: Path, folder: Path, count: int) -> None:
    script = Path(__file__).with_name("mutations.py")
    answer = subprocess.run(
        [sys.executable, str(script), str(path), str(folder), str(count)],
        capture_output=True,
        check=True,
        env={**os.environ, **QUIET},
    )
    outcomes = json.loads(answer.stdout)
    assert sum(outcomes.values()) == count
    assert set(outcomes) <= {"imported", "InvalidInputError", "UnsupportedOpError"}, outcomes
    assert outcomes["imported"] > 0
    assert outcomes["InvalidInputError"] > 0


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_truncated_onnx_file(
    part: float, convnet: Callable[..., onnx.ModelProto], saved: Callable[[onnx.ModelProto], Path]
) -> None:
    path = saved(convnet())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(InvalidInputError, match="damaged"):
        import_model(str(path), str(path.parent))


def test_detect_goes_by_content(convnet: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    network = tmp_path / "net.onnx"
    network.write_bytes(convnet().SerializeToString())
    assert detect(network) == "onnx"
    with h5py.File(tmp_path / "net.hdf5", "w"):
        pass
    assert detect(tmp_path / "net.hdf5") == "h5"
    assert detect(keras_archive(tmp_path / "net.keras", {})) == "keras"


def test_a_wrong_extension_says_what_the_file_is(convnet: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(convnet().SerializeToString())
    with pytest.raises(InvalidInputError, match="is an ONNX model, but its name says otherwise") as caught:
        detect(path)
    assert f"mv {path} {tmp_path / 'net.onnx'}" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "message", "remedy"),
    [
        ("absent.onnx", None, "there is no file", "path"),
        ("empty.onnx", b"", "empty", "Copy"),
        ("text.onnx", b"hello, I am not a model", "not an ONNX model, or a damaged one", "Save"),
        ("text.bin", b"hello, I am not a model", "no format that edgekit knows", "edgekit reads"),
        ("cut.keras", b"PK\x03\x04 and no more", "damaged or truncated archive", "Save"),
        ("net.pt", pickle.dumps([1]), "pickle from PyTorch", "dynamo=True"),
        ("net.bin", pickle.dumps([1]), "pickle from PyTorch", "dynamo=False, opset_version=18"),
        (
            "net.safetensors",
            (2).to_bytes(8, "little") + b"{}....",
            "holds weights, and no network",
            "torch.onnx.export",
        ),
        (
            "frozen.pb",
            b"\x0a\x07\x0a\x01x\x12\x02Id",
            "frozen TensorFlow graph",
            "python -m tf2onnx.convert --graphdef",
        ),
        ("saved_model.pb", b"\x08\x01", "the graph of a SavedModel", "Name the folder"),
        ("net.h5", pickle.dumps([1]), "pickle", "torch.onnx.export"),
    ],
)
def test_files_that_are_no_model(name: str, content: bytes | None, message: str, remedy: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=message) as caught:
        detect(path)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("members", "message", "remedy"),
    [
        (["net/data.pkl", "net/data/0"], "pickle from PyTorch", "torch.onnx.export(model.eval()"),
        (["net/data.pkl", "net/constants.pkl", "net/code/__torch__.py"], "a TorchScript archive", "torch.jit.load"),
        (["net/archive_format", "net/models/model.json", "net/data/sample_inputs/model.pt"], "an exported program",
         "torch.export.load"),
    ],
)  # fmt: skip
def test_archives_of_torch(members: list[str], message: str, remedy: str, tmp_path: Path) -> None:
    for suffix in (".pt", ".pth", ".pt2"):
        path = tmp_path / f"net{suffix}"
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, b"")
        with pytest.raises(InvalidInputError, match=message) as caught:
            detect(path)
        assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("files", "message", "remedy"),
    [
        ([], "a folder, not a model file", "Name the model file"),
        (["variables/variables.index"], "variables of a TensorFlow model, and no network", "model.export"),
        (["checkpoint.index"], "variables of a TensorFlow model, and no network", "model.export"),
        (["saved_model.pbtxt"], "in text form", "binary"),
        (["config.json", "model.safetensors"], "Hugging Face", "torch.onnx.export"),
        (["config.json", "onnx/model.onnx"], "an ONNX model in it", "onnx/model.onnx"),
    ],
)
def test_folders_that_are_no_model(files: list[str], message: str, remedy: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InvalidInputError, match=message) as caught:
        detect(tmp_path)
    assert remedy in caught.value.remedy


def test_a_saved_model_of_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert detect(tmp_path) == "savedmodel"
    with (tmp_path / "asset").open("wb") as stream:
        stream.truncate(3 << 30)
    with pytest.raises(InvalidInputError, match="holds 3072 MiB"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (layer("Lambda", function={"class_name": "__lambda__", "config": {"value": "4wEA"}}), "carries code"),
        ({"config": {"layers": [{"deep": [layer("Dense", activation={"class_name": "__lambda__"})]}]}}, "carries code"),
        (layer("TFSMLayer", filepath="/tmp/x"), "carries code"),
        (layer("TorchModuleWrapper"), "carries code"),
        (layer("Custom>Lambda", None), "carries code"),
        (layer("TFOpLambda", "tf_keras.layers", function="io.write_file"), "calls the TensorFlow function"),
        (layer("TFOpLambda", "tf_keras.layers", function="numpy_function"), "calls the TensorFlow function"),
        ({"module": "os", "class_name": "function", "config": "system"}, "needs the class os.function"),
        ({"module": "keras.src.utils.file_utils", "class_name": "function", "config": "get_file"}, "needs the class"),
        (layer("Shift", "my_layers"), "--custom-objects my_layers:Shift"),
    ],
)
def test_a_keras_file_that_would_run_code(config: Any, message: str, tmp_path: Path) -> None:
    archive = keras_archive(tmp_path / "net.keras", config)
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    for path in (archive, tmp_path / "net.h5"):
        with pytest.raises(InvalidInputError) as caught:
            scan_keras_file(path)
        assert message in caught.value.cause + caught.value.remedy


@pytest.mark.parametrize(
    "config",
    [
        layer("Dense", "keras.layers", activation="relu"),
        layer("Functional", "keras.src.models.functional"),
        layer("Conv2D", "tensorflow.keras.layers"),
        layer("Functional", "tf_keras.src.engine.functional"),
        layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", function="nn.relu"),
        {"module": "builtins", "class_name": "function", "config": "relu"},
        layer("DTypePolicy", "keras"),
    ],
)
def test_ordinary_layers_pass_the_scan(config: Any, tmp_path: Path) -> None:
    scan_keras_file(keras_archive(tmp_path / "net.keras", config))


def test_custom_classes_that_the_user_brings_pass_the_scan(tmp_path: Path) -> None:
    path = keras_archive(tmp_path / "net.keras", layer("Shift", "my_layers"))
    scan_keras_file(path, {"Shift"})


@pytest.mark.parametrize("member", ["../../evil.py", "/etc/evil", "assets/../../evil", "assets/object.pkl"])
def test_an_archive_that_reaches_outside_or_holds_a_pickle(member: str, tmp_path: Path) -> None:
    path = keras_archive(tmp_path / "net.keras", layer("Dense"), {member: b"x"})
    with pytest.raises(InvalidInputError, match=r"outside its folder|pickle"):
        scan_keras_file(path)


def test_an_archive_that_would_unpack_to_gigabytes(tmp_path: Path) -> None:
    path = keras_archive(tmp_path / "net.keras", layer("Dense"))
    bomb = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("config.json").file_size
    # The directory at the archive's end says how much a member unpacks to.
    directory = bomb.rindex(b"PK\x01\x02") + 24
    assert int.from_bytes(bomb[directory : directory + 4], "little") == size
    path.write_bytes(bomb[:directory] + (3 << 30).to_bytes(4, "little") + bomb[directory + 4 :])
    with pytest.raises(InvalidInputError, match="would unpack to 3072 MiB"):
        scan_keras_file(path)


def test_tensors_in_other_files_and_tensors_of_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    linked, external, huge = (tmp_path / f"{name}.h5" for name in ("linked", "external", "huge"))
    for path in (linked, external, huge):
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(layer("Dense"))
            if path == linked:
                file["kernel"] = h5py.ExternalLink("secret", "/x")
            elif path == external:
                file.create_dataset("kernel", (16,), np.float32, external=[(str(tmp_path / "secret"), 0, 64)])
            else:
                file.create_dataset("kernel", (1 << 20, 1 << 10), np.float32, chunks=(1024, 1024))
        with pytest.raises(InvalidInputError, match=r"another file|MiB of tensors"):
            scan_keras_file(path)
