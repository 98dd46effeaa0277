"""The TFLite back end on real networks: exact in float, with Keras' ops, and right in int8."""

from __future__ import annotations

import io
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.types import Artifact, Layout, Precision, QuantPlan
from edgekit.formats.tflite import flatbuffer
from edgekit.ir.model import Model
from edgekit.ir.run import max_relative, probe, run
from edgekit.pipeline import child

pytestmark = pytest.mark.acceptance

Array = np.ndarray[Any, Any]
Floats = Callable[[str], tuple[Model, Artifact]]

SOURCES = {
    "resnet": "mlperf_tiny_models/pretrainedResnet.h5",
    "vww": "mlperf_tiny_models/vww_96.h5",
    "autoencoder": "mlperf_tiny_models/ad01.h5",
    "ultraface": "ultraface/version-slim-320_simplified.onnx",
}
# What Keras' own conversion gives; for UltraFace what its graph has, and no transpose.
OPS = {
    "resnet": {"CONV_2D": 9, "ADD": 3, "AVERAGE_POOL_2D": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
    "vww": {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13, "AVERAGE_POOL_2D": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
    "autoencoder": {"FULLY_CONNECTED": 10},
    "ultraface": {"CONV_2D": 23, "DEPTHWISE_CONV_2D": 19, "PAD": 6, "RESHAPE": 8, "CONCATENATION": 2, "SOFTMAX": 1},
}


@pytest.fixture(scope="module")
def floats(acceptance_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Floats:
    """The fused Model of a network and its float file; each is made once."""
    made: dict[str, tuple[Model, Artifact]] = {}

    def build(name: str) -> tuple[Model, Artifact]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            for stage, path in (
                ("import_model", acceptance_data / SOURCES[name]),
                ("fuse_model", folder / "model.onnx"),
            ):
                arguments = {"source": str(path), "out": str(folder), "seed": 0}
                child.call(f"edgekit.pipeline.native:{stage}", arguments, what=stage, blame="the test")
            request = CompileRequest(folder / "model.onnx", QuantPlan(Precision.FP32), None, None, folder)
            made[name] = Model.load(folder / "model.onnx"), TFLiteBackend().compile(request)
        return made[name]

    return build


def images(archive: Path, count: int, size: int) -> tuple[Array, Array]:
    """`count` images spread over the classes, resized, 0–255, and their classes."""
    from PIL import Image

    with tarfile.open(archive) as tar:
        members = sorted((item for item in tar.getmembers() if item.name.endswith(".jpg")), key=lambda item: item.name)
        classes = sorted({Path(item.name).parent.name for item in members})
        chosen = [members[index] for index in np.linspace(0, len(members) - 1, count).astype(int)]
        pictures, labels = [], []
        for item in chosen:
            stream = tar.extractfile(item)
            assert stream is not None
            picture = Image.open(io.BytesIO(stream.read())).convert("RGB").resize((size, size))
            pictures.append(np.asarray(picture, np.float32))
            labels.append(classes.index(Path(item.name).parent.name))
    return np.stack(pictures), np.array(labels)


def answers(artifact: Artifact, samples: Array) -> list[Array]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(artifact.path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), results = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for sample in samples:
        interpreter.set_tensor(source["index"], sample[None])
        interpreter.invoke()
        found.append([interpreter.get_tensor(result["index"])[0] for result in results])
    return [np.stack(values) for values in zip(*found, strict=True)]


def quantized(model: Model, baseline: Artifact, samples: Array, folder: Path) -> Artifact:
    arrays: dict[str, Any] = {model.inputs[0].name: samples}
    np.savez(folder / "calibration.npz", **arrays)
    model.save(folder / "model.onnx")
    plan = QuantPlan(Precision.INT8)
    request = CompileRequest(folder / "model.onnx", plan, baseline, folder / "calibration.npz", folder)
    return TFLiteBackend().compile(request)


def logits_sqnr(reference: Array, other: Array) -> float:
    """Signal to quantization noise before the softmax, in dB: logits are the centred logarithms of probabilities."""
    signal, noisy = (np.log(np.maximum(values, 1e-12)) for values in (reference, other))
    signal, noisy = (values - values.mean(axis=-1, keepdims=True) for values in (signal, noisy))
    return float(10 * np.log10((signal**2).sum() / ((noisy - signal) ** 2).sum()))


@pytest.mark.parametrize("name", SOURCES)
def test_float_file_is_exact_and_has_no_needless_op(name: str, floats: Floats) -> None:
    model, artifact = floats(name)
    feeds = probe(model, 0, 2)
    (spec,) = model.inputs
    given = feeds[spec.name].transpose(0, 2, 3, 1) if spec.layout is Layout.NCHW else feeds[spec.name]
    found = dict(zip((output.name for output in model.outputs), answers(artifact, given), strict=True))
    assert max_relative(found, run(model, feeds)) < 1e-4
    assert Counter(flatbuffer.op_names(flatbuffer.read(artifact.path.read_bytes()))) == OPS[name]


def test_resnet_keeps_its_accuracy_in_int8(acceptance_data: Path, floats: Floats, tmp_path: Path) -> None:
    model, baseline = floats("resnet")
    calibration, _ = images(acceptance_data / "cifar10_jpeg_train20k.tar.gz", 200, 32)
    artifact = quantized(model, baseline, calibration, tmp_path)
    samples, labels = images(acceptance_data / "cifar10_jpeg_test5k.tar.gz", 2500, 32)
    (wanted,), (found,) = answers(baseline, samples), answers(artifact, samples)
    drop = 100 * float((wanted.argmax(1) == labels).mean() - (found.argmax(1) == labels).mean())
    assert drop <= 1.0
    assert logits_sqnr(wanted, found) >= 20
    assert artifact.size <= 0.40 * baseline.size


def test_visual_wake_words_agrees_in_int8(acceptance_data: Path, floats: Floats, tmp_path: Path) -> None:
    model, baseline = floats("vww")
    calibration, _ = images(acceptance_data / "cifar10_jpeg_train20k.tar.gz", 200, 96)
    artifact = quantized(model, baseline, calibration / 255, tmp_path)
    samples, _ = images(acceptance_data / "cifar10_jpeg_test5k.tar.gz", 2500, 96)
    (wanted,), (found,) = answers(baseline, samples / 255), answers(artifact, samples / 255)
    same = wanted.argmax(1) == found.argmax(1)
    assert same.mean() >= 0.98
    assert min(same[wanted.argmax(1) == label].mean() for label in (0, 1)) >= 0.80
    assert logits_sqnr(wanted, found) >= 20
    assert artifact.size <= 0.40 * baseline.size


@pytest.mark.parametrize(("name", "scale"), [("resnet", 1), ("vww", 255)])
def test_tflite_runtime_gives_the_same_answers(  # noqa: PLR0917 - fixtures
    name: str,
    scale: float,
    acceptance_data: Path,
    floats: Floats,
    old_python: Path,
    run_in: Callable[..., dict[str, Array]],
    tmp_path: Path,
) -> None:
    """Float ones with its XNNPACK, int8 ones with its own kernels, whose rounding LiteRT has without its delegate."""
    model, baseline = floats(name)
    (spec,) = model.inputs
    pictures, _ = images(acceptance_data / "cifar10_jpeg_train20k.tar.gz", 200, spec.shape[1] or 0)
    artifact = quantized(model, baseline, pictures / scale, tmp_path)
    given: dict[str, Any] = {spec.name: pictures / scale}
    np.savez(tmp_path / "x.npz", **given)
    for each, delegate, tolerance in ((baseline, "", 1e-5), (artifact, "none", 0.02)):
        (old,) = run_in(old_python, "tflite_runtime", each.path, tmp_path / "x.npz").values()
        (new,) = run_in(Path(sys.executable), "ai_edge_litert", each.path, tmp_path / "x.npz", delegate).values()
        np.testing.assert_allclose(old, new, atol=tolerance)
