"""What dynamic int8 costs beside int8, as shares of float: one table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.dynamic

Bytes of the file and CPU time of an inference. Inferences are interleaved in one process; samples are made up.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.lifts import compiled, prepare
from edgekit.backends.base import load_backend
from edgekit.core.errors import UnsupportedOpError
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.devices.bench import measure

MODELS = {
    "keypoints": "hand_gesture/keypoint_classifier.hdf5",
    "ad01": "mlperf_tiny_models/ad01.h5",
    "ResNet-8": "mlperf_tiny_models/pretrainedResnet.h5",
    "DS-CNN": "mlperf_tiny_models/kws_ref_model",
}
BACKENDS = ("tflite", "onnxruntime")


def main() -> None:
    """Print the table."""
    data = Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"])
    print("| model | back end | bytes, int8 | bytes, dynamic | time, int8 | time, dynamic |")
    print("|---|---|---|---|---|---|")
    for name, file in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            prepare(data / file, Path(folder))
            for backend in BACKENDS:
                print(f"| {name} | {backend} | {_cells(backend, Path(folder))} |", flush=True)


def _cells(backend: str, folder: Path) -> str:
    plain = compiled(backend, folder, QuantPlan(Precision.FP32))
    others: list[Artifact] = []
    for precision in (Precision.INT8, Precision.DYNAMIC):
        try:
            others.append(compiled(backend, folder, QuantPlan(precision), plain))
        except UnsupportedOpError as error:
            return f"{precision}: {error.cause} | | | "
    (base, *found), _ = measure(
        plain.path,
        options=plain.runtime_options,
        against=[(other.path, other.runtime_options) for other in others],
        runtime=load_backend(backend).runtime,
        runs=400,
        max_seconds=60,
    )
    assert base.timing
    times = [each.timing.cpu_ms / base.timing.cpu_ms for each in found if each.timing]
    return " | ".join(f"{share:.2f}" for share in (*(other.size / plain.size for other in others), *times))


if __name__ == "__main__":
    main()
