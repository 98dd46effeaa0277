"""What every device is: a place where the bench script runs and answers in one JSON document."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgekit.core import events
from edgekit.core.process import Limits
from edgekit.core.types import Options, States

__all__ = ["BenchRequest", "Device", "decode", "relay", "script_arguments"]

_PROGRESS = "progress "


@dataclass(frozen=True)
class BenchRequest:
    """What the bench script is asked. Paths are this machine's; a device brings the files to where it runs.

    Attributes:
        artifact: the file that the runtime opens; OpenVINO's and ncnn's weights lie beside it.
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
        timing: whether to time; the rest runs in any case. An emulated device never times.
        repeats: rounds of `runs` inferences of each artifact, interleaved; they end after `max_seconds`.
        digest: refuse `artifact` if its content has another SHA-256.
        profile: inferences to time each operator of `artifact` in.
        mark: inferences of each artifact to make between two marks, for a counter outside the script.
    """

    artifact: Path
    options: Options = ()
    against: tuple[tuple[Path, Options], ...] = ()
    inputs: Path | None = None
    outputs: Path | None = None
    golden: Path | None = None
    golden_outputs: Path | None = None
    states: States = ()
    runtime: str | None = None
    threads: int = 1
    timing: bool = True
    repeats: int = 5
    runs: int = 100
    max_seconds: float = 20.0
    digest: str | None = None
    profile: int | None = None
    mark: int | None = None


class Device(Protocol):
    """A place where artifacts run. Opening one does nothing yet; the first request reaches it.

    Attributes:
        uri: how it was named, like "ssh://pi@bench-3".
    """

    uri: str

    def bench(self, request: BenchRequest, *, blame: str, limits: Limits) -> Any:
        """Run the script there, and bring the answers to `request.outputs` and `request.golden_outputs`.

        Args:
            request: what to run.
            blame: who made the artifact, for the error when it kills the runtime.
            limits: memory and time of the process, where they can be enforced.

        Returns:
            The script's JSON document, which may report an error of its own.

        Raises:
            DeviceError: it can't be reached, or doesn't answer.
            MissingToolError: it, or this machine, lacks what reaching it takes.
        """

    def probe(self) -> Any:
        """The script's answer to --probe: what the device is, its state, and its runtimes.

        Raises:
            DeviceError, MissingToolError: as `bench`.
        """

    def close(self) -> None:
        """Remove what was put there. A closed device can be used again."""


def script_arguments(request: BenchRequest, place: Callable[[Path], str] = str) -> list[str]:
    """The command line of the bench script for a request.

    Args:
        request: what to run.
        place: where the device has, or shall put, a file of this machine.
    """

    def with_options(path: Path, options: Options) -> str:
        query = "&".join(f"{key}={value}" for key, value in options)
        return f"{place(path)}?{query}" if query else place(path)

    argv = [with_options(request.artifact, request.options)]
    for path, options in request.against:
        argv += ["--against", with_options(path, options)]
    files = {
        "--inputs": request.inputs, "--outputs": request.outputs, "--golden": request.golden,
        "--golden-outputs": request.golden_outputs,
    }  # fmt: skip
    named = {
        **{flag: place(path) if path else None for flag, path in files.items()},
        "--runtime": request.runtime, "--digest": request.digest, "--threads": request.threads,
        "--repeats": request.repeats, "--runs": request.runs, "--max-seconds": request.max_seconds,
        "--profile": request.profile, "--mark": request.mark,
    }  # fmt: skip
    for flag, value in named.items():
        if value is not None:
            argv += [flag, str(value)]
    argv += [f"--state={source}={target}" for source, target in request.states]
    return [*argv, "--json", "--progress", *([] if request.timing else ["--no-timing"])]


def relay(line: str) -> None:
    """Pass the script's progress on to our listener; the rest of its stderr is for the error, if there is one."""
    if line.startswith(_PROGRESS):
        _, fraction, text = line.rstrip("\n").split(" ", 2)
        with contextlib.suppress(ValueError):
            events.progress(text, float(fraction))


def decode(lines: Sequence[str]) -> Any:
    """The answer: the last line that is a JSON document, whatever a runtime or a login printed around it; or None."""
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                return document
    return None
