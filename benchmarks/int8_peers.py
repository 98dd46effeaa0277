"""int8 by edgekit against each ecosystem's own quantizer with its defaults, on the same runtime, as a markdown table.

    python benchmarks/int8_peers.py [BACKEND ...]

The network is MobileNetV2 for 224 × 224 with random weights: latency does not depend on them. Both files run in the
bench script, interleaved inference by inference on one thread; the ratio is that of the CPU medians.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino.quiet import import_nncf, import_openvino
from edgekit.core.plain import from_json
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.pipeline import child

RATIO_LIMIT = 1.03
SAMPLES = 50


def main() -> None:
    """Print the table; end with 1 when a row misses its target."""
    peers: dict[str, tuple[str, Callable[[Path, Path, Path], Path]]] = {
        "openvino": ("NNCF", quantize_by_nncf),
        "tflite": ("TFLiteConverter", quantize_by_tensorflow),
        "onnxruntime": ("quantize_static", quantize_by_onnxruntime),
    }
    chosen = sys.argv[1:] or list(peers)
    print(
        "| runtime | peer | ours, bytes | peer, bytes | ours, ms | peer, ms | ratio of CPU medians | of wall minima |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        source = save_mobilenet(Path(folder, "mobilenet.keras"))
        model = import_model(source, Path(folder, "model"))
        samples = save_samples(Path(folder, "samples.npz"))
        held = []
        for backend in chosen:
            peer, quantize = peers[backend]
            ours = compile_int8(backend, model, samples, Path(folder, backend))
            theirs = quantize(source, samples, Path(folder, backend))
            held.append(compare(ours, theirs, peer))
    sys.exit(0 if all(held) else 1)


def compare(ours: Artifact, theirs: Path, peer: str) -> bool:
    """Print one row; whether the ratio is within its limit."""
    options = ours.runtime_options
    (mine, other), answer = measure(ours.path, options=options, against=[(theirs, options)], max_seconds=60)
    assert mine.timing is not None
    assert other.timing is not None
    assert mine.ratio is not None
    sizes = " | ".join(f"{artifact['bytes']:,}" for artifact in answer["artifacts"])
    times = f"{mine.timing.cpu_ms:.3f} | {other.timing.cpu_ms:.3f} | {mine.ratio:.3f} | {mine.ratio_wall_min:.3f}"
    print(f"| {mine.runtime} | {peer} | {sizes} | {times} |", file=sys.__stdout__, flush=True)
    return mine.ratio <= RATIO_LIMIT


def compile_int8(backend: str, model: Path, samples: Path, folder: Path) -> Artifact:
    """The Model in int8, as a build makes it: float first, then int8 from that."""
    artifact: Artifact | None = None
    for precision in (Precision.FP32, Precision.INT8):
        workdir = folder / precision
        workdir.mkdir(parents=True)
        answer = child.call(
            "edgekit.pipeline.native:compile_artifact",
            {
                "backend": backend,
                "request": CompileRequest(model, QuantPlan(precision), artifact, samples, workdir),
            },
            what=f"compiling {precision} with {backend}",
            blame="the benchmark",
        )
        files = [str(workdir / name) for name in answer["files"]]
        artifact = from_json(Artifact, {**answer, "files": files})
    assert isinstance(artifact, Artifact)
    return artifact


def quantize_by_nncf(source: Path, samples: Path, folder: Path) -> Path:
    """Keras file → ONNX by Keras → OpenVINO → `nncf.quantize` with its defaults."""
    import keras

    ov, nncf = import_openvino(), import_nncf()
    network = keras.models.load_model(source)
    network(np.load(samples)["image"][:1])  # Keras exports only what has run
    network.export(folder / "peer.onnx", format="onnx", verbose=False)
    model = ov.convert_model(folder / "peer.onnx")
    model.reshape([1, 224, 224, 3])
    images = nncf.Dataset([image[None] for image in np.load(samples)["image"]])
    ov.save_model(nncf.quantize(model, images), folder / "peer.xml", compress_to_fp16=False)
    return folder / "peer.xml"


def quantize_by_tensorflow(source: Path, samples: Path, folder: Path) -> Path:
    """Keras file → `TFLiteConverter` with a representative data set."""
    import keras
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(source))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in np.load(samples)["image"])
    (folder / "peer.tflite").write_bytes(converter.convert())
    return folder / "peer.tflite"


def quantize_by_onnxruntime(source: Path, samples: Path, folder: Path) -> Path:
    """Keras file → ONNX by Keras → `quant_pre_process` and `quantize_static` with their defaults."""
    import keras
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(np.load(samples)["image"])

        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            image = next(self._images, None)
            return None if image is None else {"image": image[None]}

    network = keras.models.load_model(source)
    network(np.load(samples)["image"][:1])  # Keras exports only what has run
    network.export(folder / "float.onnx", format="onnx", verbose=False)
    quant_pre_process(folder / "float.onnx", folder / "prepared.onnx")
    quantize_static(folder / "prepared.onnx", folder / "peer.onnx", Images())
    return folder / "peer.onnx"


def import_model(source: Path, folder: Path) -> Path:
    """Keras file → Model, fused, as a build does it."""
    for stage, path in (("import_model", source), ("fuse_model", folder / "model.onnx")):
        arguments = {"source": str(path), "out": str(folder), "seed": 0}
        folder.mkdir(exist_ok=True)
        child.call(f"edgekit.pipeline.native:{stage}", arguments, what=f"{stage} of {path.name}", blame="the benchmark")
    return folder / "model.onnx"


def save_mobilenet(path: Path) -> Path:
    """MobileNetV2 of width 1 for 224 × 224, with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNetV2(input_tensor=keras.Input((224, 224, 3), name="image"), weights=None)
    network.save(path)
    return path


def save_samples(path: Path) -> Path:
    """Noise in −1..1, the range that the network takes."""
    images = np.random.default_rng(0).uniform(-1, 1, size=(SAMPLES, 224, 224, 3))
    np.savez(path, image=images.astype(np.float32))
    return path


if __name__ == "__main__":
    main()
