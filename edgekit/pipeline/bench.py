"""What `edgekit bench` and `edgekit compare` answer: artifacts timed on a device, interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.types import Measurement, Options
from edgekit.pipeline.output import MANIFEST_NAME, artifact_folder, read_manifest, reading_manifest

__all__ = ["Comparison", "bench", "compare"]

_SUFFIXES = (".tflite", ".xml", ".onnx")
_RESAMPLES = 2000
_NOTHING = 0.01


@dataclass(frozen=True)
class _Runnable:
    """A file that a runtime opens, with the options that it was promised with."""

    name: str
    path: Path
    options: Options = ()
    runtime: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A ÷ B in CPU time, interleaved in one process.

    Attributes:
        ratio: of the medians of CPU time.
        ci95: bootstrap interval of the ratio, whole rounds of inferences resampled together.
        verdict: "faster", "slower", "the same" (the interval lies within 1 % of one) or "not resolved", said of A.
    """

    a: str
    b: str
    ratio: float
    ci95: tuple[float, float]
    ratio_wall_min: float | None
    verdict: str
    measurements: tuple[Measurement, ...]


def _runnable(path: Path) -> _Runnable:
    """What `path` means: a target's folder or a file in it (with its manifest's options), or any file of a runtime."""
    if path.is_dir() or (path.parent / MANIFEST_NAME).is_file():
        folder = artifact_folder(path)
        manifest = read_manifest(folder)
        with reading_manifest(folder):
            artifact = manifest["artifact"]
            options = tuple((key, value) for key, value in artifact["runtime_options"])
            return _Runnable(str(folder), folder / artifact["files"][0], options, artifact["runtime"])
    if path.suffix.lower() not in _SUFFIXES:
        raise InvalidInputError(
            f"{path} is no artifact: its name ends in none of {', '.join(_SUFFIXES)}",
            blame="the command line",
            remedy="Name a target's folder that a build made, or a file of a runtime.",
        )
    return _Runnable(str(path), path)


def bench(path: str | Path, *, threads: int = 1, max_seconds: float = 20.0) -> tuple[Measurement, dict[str, Any]]:
    """Time an artifact here, and return the bench script's whole answer too.

    Args:
        path: a target's folder, or any file that a runtime opens.
        threads: threads of the runtime.
        max_seconds: the timing ends then.
    """
    from edgekit.devices.bench import measure

    artifact = _runnable(Path(path))
    measurements, answer = measure(
        artifact.path, options=artifact.options, runtime=artifact.runtime, threads=threads, max_seconds=max_seconds
    )
    return measurements[0], answer


def compare(
    first: str | Path, second: str | Path, *, threads: int = 1, max_seconds: float = 20.0, seed: int = 0
) -> Comparison:
    """Time artifact A, `first`, against B, `second`, inference by inference, and say whether the difference is real.

    Raises:
        UsageError: the two run on different runtimes, which one process can't interleave.
    """
    from edgekit.devices.bench import measure

    a, b = _runnable(Path(first)), _runnable(Path(second))
    if a.path.suffix != b.path.suffix:
        raise UsageError(
            f"{a.path.name} and {b.path.name} run on different runtimes, and only one can be timed in one process",
            blame="the command line",
            remedy="Compare artifacts of one runtime; time each alone with: edgekit bench ARTIFACT",
        )
    measurements, answer = measure(
        a.path,
        options=a.options,
        against=[(b.path, b.options)],
        runtime=a.runtime or b.runtime,
        threads=threads,
        max_seconds=max_seconds,
    )
    times_a, times_b = (np.asarray(each["timing"]["samples_cpu_ms"]) for each in answer["artifacts"])
    ratio = float(np.median(times_a) / np.median(times_b))
    ci95 = _ratio_interval(times_a, times_b, seed)
    return Comparison(a.name, b.name, ratio, ci95, measurements[0].ratio_wall_min, _verdict(ci95), tuple(measurements))


def _ratio_interval(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], seed: int) -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979) of the ratio of medians; pairs, which met the same noise, stay together."""
    count = min(len(first), len(second))
    random = np.random.default_rng(seed)
    ratios = []
    for _ in range(_RESAMPLES):
        chosen = random.integers(0, count, count)
        ratios.append(np.median(first[chosen]) / np.median(second[chosen]))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def _verdict(ci95: Sequence[float]) -> str:
    low, high = ci95
    if low > 1 - _NOTHING and high < 1 + _NOTHING:
        return "the same"
    return "faster" if high < 1 else "slower" if low > 1 else "not resolved"
