"""Default builds of models that this project did not make, for both families of targets, as a markdown table.

Bytes and CPU time are shares of the float model's on the same back end; `--int8` asks for that precision.

EDGEKIT_ACCEPTANCE_DATA=path/to/data python benchmarks/models.py [--int8]
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from edgekit.core.evidence import Metric
from edgekit.pipeline.build import build
from edgekit.report.build_report import TargetReport

TARGETS = ("raspberry-pi-4", "intel-cpu")
SHOWN = {"top1", "agreement", "worst_class_agreement", "logits_sqnr", "sqnr"}


def main() -> None:
    """Print the table; end with 1 when a build had an error."""
    with tempfile.TemporaryDirectory() as folder:
        home, failed = Path(folder), False
        print(
            "| model | target | precision | metric | float → artifact | interval of the drop | n | bytes | CPU time |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name, (path, data) in prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), home).items():
            flags = {"data": data, "precision": {"precision": "int8" if "--int8" in sys.argv else "auto"}}
            for target in build(str(path), TARGETS, flags=flags, out=home / "out" / name).targets:
                failed |= target.error is not None
                for metric in target.metrics:
                    if metric.name.partition(":")[0] in SHOWN:
                        cells = (name, target.target, target.precision, row(metric), cost(target))
                        print("|", " | ".join(map(str, cells)), "|", flush=True)
    sys.exit(failed)


def cost(target: TargetReport) -> str:
    """The cells of what an artifact costs."""
    latency = target.latency or target.latency_at_host
    assert target.bytes
    assert target.float_bytes
    assert latency
    ratio = latency.ratio or 1.0  # fp32 is its own baseline
    return f"{target.bytes / target.float_bytes:.2f}× | {ratio:.2f}×{'' if target.latency else ' @host'}"


def row(metric: Metric) -> str:
    """The cells of a metric."""
    values = f"{metric.float:.2f} → {metric.artifact:.2f}" if metric.float is not None else f"{metric.artifact:.2f}"
    interval = f"{metric.ci95[0]:+.2f} … {metric.ci95[1]:+.2f}" if metric.ci95 and metric.drop is not None else ""
    return f"{metric.name} | {values} {metric.unit} | {interval} | {metric.n}"


def prepare(shared: Path, home: Path) -> dict[str, tuple[Path, dict[str, str]]]:
    """Each model's file, and the section of a recipe that says which data it gets; the data is laid out in `home`.

    Args:
        shared: the acceptance data.
        home: an empty folder.
    """
    for name in ("cifar10_jpeg_train20k", "cifar10_jpeg_test5k"):
        with tarfile.open(shared / f"{name}.tar.gz") as archive:
            archive.extractall(home, filter="data")
    images = sorted((home / "test").rglob("*.jpg"))
    tiny, hands = shared / "mlperf_tiny_models", shared / "hand_gesture"
    photos = {"train": str(home / "train"), "eval": str(home / "test")}
    flat = {"data": _flat(home / "flat", images), "normalize": "0..1"}
    return {
        "ResNet-8": (tiny / "pretrainedResnet.h5", photos),
        "ResNet-8 .tflite": (tiny / "pretrainedResnet.tflite", photos),
        "ResNet-8 int8 .tflite": (tiny / "pretrainedResnet_quant.tflite", photos),
        "VWW": (tiny / "vww_96.h5", flat),
        "VWW .tflite": (tiny / "vww_96_float.tflite", flat),
        "ad01": (tiny / "ad01.h5", {"data": _spectra(home / "spectra.npz")}),
        "DS-CNN": (tiny / "kws_ref_model", {"data": _cepstra(home / "cepstra.npz")}),
        "wake word": (tiny / "str_ww_ref_model.h5", {"data": str(tiny / "calibration_samples.npz")}),
        "keypoints": (hands / "keypoint_classifier.hdf5", {"data": str(hands / "keypoint.csv")}),
        "point history": (hands / "point_history_classifier.hdf5", {"data": str(hands / "point_history.csv")}),
        "ultraface": (
            shared / "ultraface" / "version-slim-320_simplified.onnx",
            {"data": _flat(home / "few", images[::25]), "normalize": "-1..1"},
        ),
    }


def _spectra(path: Path) -> str:
    """Noise in the range of log-mel spectra, five frames of 128 bands: the model's own sounds are not at hand."""
    np.savez(path, x=np.random.default_rng(0).normal(-20, 10, (600, 640)).astype(np.float32))
    return str(path)


def _cepstra(path: Path) -> str:
    """Coefficients that wander over 49 frames in the range of speech: the model's own words are not at hand."""
    random = np.random.default_rng(0)
    walks = random.normal(0, 1, (2000, 49, 10, 1)).cumsum(1)
    spread = np.array([12, 6, 5, 4, 4, 3, 3, 3, 3, 3])[:, None] / np.sqrt(10)
    cepstra = (walks - walks.mean(1, keepdims=True)) * spread
    cepstra[:, :, 0] += random.normal(-30, 20, (2000, 1, 1))
    np.savez(path, x=cepstra.astype(np.float32))
    return str(path)


def _flat(folder: Path, images: list[Path]) -> str:
    """One folder of images without classes: data without labels."""
    folder.mkdir()
    for image in images:
        (folder / f"{image.parent.name}_{image.name}").hardlink_to(image)
    return str(folder)


if __name__ == "__main__":
    main()
