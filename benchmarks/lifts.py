"""What a layer costs that mixed precision takes out of int8, by what it could get instead: one table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.lifts

Every second convolution or dense layer of ResNet-8 and of DS-CNN is lifted, the others are int8. CPU time of the
inference as a share of that of the same network with float32 weights in those layers; int16 is weights of 8 bits and
activations of 16, which LiteRT alone has kernels for. Inferences are interleaved; samples are made up.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from edgekit.backends.base import CompileRequest, load_backend
from edgekit.backends.promise import MULTIPLYING
from edgekit.backends.tflite.calibrate import calibrate
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.ir.model import Model
from edgekit.ir.run import probe
from edgekit.lowering import scope_names
from edgekit.pipeline import child

MODELS = {"ResNet-8": "pretrainedResnet.tflite", "DS-CNN": "kws_ref_model_float32.tflite"}
BACKENDS = ("tflite", "openvino")
SAMPLES = 20


def main() -> None:
    """Print the table."""
    data = Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]) / "mlperf_tiny_models"
    print("| model | back end | lifted layers | bytes of fp16 | time of fp16 | time of int16 | time of float, all |")
    print("|---|---|---|---|---|---|---|")
    for name, file in MODELS.items():
        for backend in BACKENDS:
            with tempfile.TemporaryDirectory() as folder:
                print(f"| {name} | {backend} | {_row(data / file, backend, Path(folder))} |", flush=True)


def prepare(source: Path, folder: Path) -> Model:
    """The fused Model of a file, as `model.onnx` in `folder`, beside made-up samples."""
    for stage, path in (("import_model", source), ("fuse_model", folder / "model.onnx")):
        child.call(
            f"edgekit.pipeline.native:{stage}",
            {"source": str(path), "out": str(folder), "seed": 0},
            what=stage,
            blame="the model",
        )
    model = Model.load(folder / "model.onnx")
    np.savez(folder / "samples.npz", **probe(model, 0, SAMPLES))  # type: ignore[arg-type]
    return model


def compiled(backend: str, folder: Path, plan: QuantPlan, baseline: Artifact | None = None) -> Artifact:
    """What `prepare` left in `folder`, compiled; from its float artifact `baseline` where the plan is not float."""
    workdir = Path(tempfile.mkdtemp(dir=folder))
    calibration = folder / "samples.npz" if baseline else None
    request = CompileRequest(folder / "model.onnx", plan, baseline, calibration, workdir)
    return load_backend(backend).compile(request)


def _row(source: Path, backend: str, folder: Path) -> str:
    model = prepare(source, folder)
    lifted = [str(node.name) for node in model.graph if node.op_type in MULTIPLYING][::2]
    plain = compiled(backend, folder, QuantPlan(Precision.FP32))
    wide, narrow = (
        compiled(backend, folder, QuantPlan(Precision.INT8, tuple((layer, precision) for layer in lifted)), plain)
        for precision in (Precision.FP32, Precision.FP16)
    )
    others = [narrow.path, plain.path]
    if backend == "tflite":
        others.append(_sixteen(model, plain, lifted, folder))
    found, _ = measure(
        wide.path,
        options=wide.runtime_options,
        against=[(other, wide.runtime_options) for other in others],
        runtime=load_backend(backend).runtime,
        runs=400,
        max_seconds=60,
    )
    base, fp16, whole, *rest = [each.timing.cpu_ms for each in found if each.timing]
    shares = [fp16 / base, rest[0] / base if rest else None, whole / base]
    told = " | ".join("" if share is None else f"{share:.2f}" for share in shares)
    return f"{len(lifted)} | {narrow.size / wide.size:.2f} | {told}"


def _sixteen(model: Model, plain: Artifact, lifted: list[str], folder: Path) -> Path:
    """The file with int16 activations in the lifted layers, straight from ai-edge-quantizer."""
    from ai_edge_quantizer import Quantizer, qtyping

    content, scopes = plain.path.read_bytes(), scope_names(model)
    quantizer = Quantizer(content)
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    quantizer.add_static_config(".*", everything, 8, 8)
    for layer in lifted:
        quantizer.add_static_config(rf"(^|;){scopes[layer]}/", everything, 16, 8)
    with np.load(folder / "samples.npz") as stored:
        (samples,) = stored.values()
    (spec,), (own,) = model.inputs, plain.inputs
    axes = [0, 2, 3, 1] if spec.layout != own.layout else range(samples.ndim)
    statistics = calibrate(content, {own.name: samples.transpose(axes)})
    path = folder / "sixteen.tflite"
    result = quantizer.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    path.write_bytes(result.quantized_model)
    return path


if __name__ == "__main__":
    main()
