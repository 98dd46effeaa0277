"""Measuring an artifact on a device: the request goes out, the answer comes back checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.evidence import Measurement
from edgekit.core.process import Limits
from edgekit.core.types import Options, States
from edgekit.devices.answer import parse_error, parse_measurements
from edgekit.devices.base import BenchRequest, Device
from edgekit.devices.local import LocalDevice

__all__ = ["LOCAL", "measure"]

LOCAL: Device = LocalDevice()


def measure(
    artifact: Path,
    *,
    device: Device = LOCAL,
    options: Options = (),
    against: Sequence[tuple[Path, Options]] = (),
    inputs: Path | None = None,
    outputs: Path | None = None,
    golden: Path | None = None,
    golden_outputs: Path | None = None,
    states: States = (),
    runtime: str | None = None,
    threads: int = 1,
    timing: bool = True,
    repeats: int = 5,
    runs: int = 100,
    max_seconds: float = 20.0,
    digest: str | None = None,
    profile: int | None = None,
    blame: str = "your artifact",
    limits: Limits | None = None,
) -> tuple[list[Measurement], dict[str, Any]]:
    """Run an artifact on a device with the bench script.

    Args:
        device: where.
        artifact, options, against, inputs, outputs, golden, golden_outputs, states, runtime, threads, timing, repeats,
            runs, max_seconds, digest, profile: as `BenchRequest`.
        blame: who made the artifact, for the error when it doesn't load.
        limits: memory and time of the process.

    Returns:
        A measurement for each artifact in order (the first one's ratio is to the first of `against`, the others'
        is None), and the script's whole answer.

    Raises:
        InvalidInputError: the artifact can't be loaded, the samples don't fit it, or the process died.
        BrokenPromiseError: an answer is NaN.
        IntegrityError: the digest differs.
        MissingToolError: the runtime is not installed.
        UsageError: the runtime doesn't take an option.
        DeviceError: the device can't be reached, or its answer is not the script's.
    """
    request = BenchRequest(
        artifact=artifact,
        options=options,
        against=tuple(against),
        inputs=inputs,
        outputs=outputs,
        golden=golden,
        golden_outputs=golden_outputs,
        states=states,
        runtime=runtime,
        threads=threads,
        timing=timing,
        repeats=repeats,
        runs=runs,
        max_seconds=max_seconds,
        digest=digest,
        profile=profile,
    )
    answer = device.bench(request, blame=blame, limits=limits or Limits(seconds=3600.0))
    error = parse_error(answer, blame)
    if error:
        raise error
    return parse_measurements(answer), answer
