"""This machine as a device: the bench script in a child process with limits."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.process import Limits, explain_death, repeatable_environment, run_limited
from edgekit.core.resources import resource
from edgekit.core.types import EvidenceKind, Measurement, Options, States
from edgekit.devices.answer import parse_error, parse_measurements

__all__ = ["measure"]

_PROGRESS = "progress "


def measure(
    artifact: Path,
    *,
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
    blame: str = "your artifact",
    limits: Limits | None = None,
) -> tuple[list[Measurement], dict[str, Any]]:
    """Run an artifact on this machine with the bench script.

    Args:
        artifact: the file that the runtime opens.
        options: runtime options, as `Artifact.runtime_options` has them.
        against: other artifacts to time interleaved, with their options; the first is the baseline of the ratio.
        inputs: an .npz of samples (leading sample axis) that only `artifact` runs; its answers go to `outputs`.
        outputs: the .npz for the answers, keyed by the artifact's output names.
        golden: an .npz of samples that every artifact runs; the answers go to `golden_outputs`/<index>.npz.
        golden_outputs: the folder for them.
        states: recurrent state, by the artifacts' names: the samples are then sequences, (sequences, steps, …), and
            (sequences, …) what a state starts from; the answers are (sequences, steps, …).
        runtime: name of the runtime's module; by the file's suffix if None.
        threads: intra-op threads.
        timing: whether to time; the rest runs in any case.
        repeats: rounds of `runs` inferences of each artifact, interleaved; they end after `max_seconds`.
        digest: refuse `artifact` if its content has another SHA-256.
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
    """
    limits = limits or Limits(seconds=3600.0)
    argv = [sys.executable, str(resource("scripts/bench_on_device.py")), _with_options(artifact, options)]
    for path, path_options in against:
        argv += ["--against", _with_options(path, path_options)]
    named = {
        "--inputs": inputs, "--outputs": outputs, "--golden": golden, "--golden-outputs": golden_outputs,
        "--runtime": runtime, "--digest": digest, "--threads": threads, "--repeats": repeats, "--runs": runs,
        "--max-seconds": max_seconds,
    }  # fmt: skip
    argv += [f"--state={source}={target}" for source, target in states]
    for flag, value in named.items():
        if value is not None:
            argv += [flag, str(value)]
    argv += ["--json", "--progress", *([] if timing else ["--no-timing"])]
    lines: list[str] = []
    finished = run_limited(
        argv, limits=limits, env=repeatable_environment(threads), on_line=lines.append, on_error_line=_relay
    )
    answer = _decode(lines)
    error = parse_error(answer, blame)
    if error:
        raise error
    if finished.returncode != 0 or answer is None:
        raise explain_death(finished, what=f"running {artifact.name}", limits=limits, blame=blame)
    return parse_measurements(answer, EvidenceKind.MEASURED), answer


def _with_options(path: Path, options: Options) -> str:
    query = "&".join(f"{key}={value}" for key, value in options)
    return f"{path}?{query}" if query else str(path)


def _relay(line: str) -> None:
    """Pass the script's progress on to our listener; the rest of its stderr is kept for the error."""
    if line.startswith(_PROGRESS):
        _, fraction, text = line.rstrip("\n").split(" ", 2)
        with contextlib.suppress(ValueError):
            events.progress(text, float(fraction))


def _decode(lines: Sequence[str]) -> Any:
    """The answer: the last line that is JSON, whatever a runtime printed before it."""
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return json.loads(line)
    return None
