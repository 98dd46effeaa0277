"""What `edgekit compare` answers: two artifacts, timed against each other on a device until the difference is known.

The unit of repetition is a process, not an inference: inferences of one process share its memory layout and the
machine's mood, so that an interval over them is too narrow (Mytkowicz et al. 2009,
"Producing Wrong Data Without Doing Anything Obviously Wrong!"; Georges et al. 2007, "Statistically Rigorous Java
Performance Evaluation"; Kalibera and Jones 2013, "Rigorous Benchmarking in Reasonable Time"). A round is two fresh
processes, each of which interleaves the two artifacts inference by inference: one loads and runs A first, the other B,
so that whatever favours the first cancels. Each process gives one ratio of medians of CPU time, a round the mean of its
two logarithms, and Student's interval of the rounds' mean is that of the ratio.

Rounds follow until the interval is narrow enough (a fixed-width sequential interval: Chow and Robbins 1965; the stop
depends on the width alone, never on the ratio) or time is up. The verdict is one of equivalence testing (Schuirmann
1987): a difference counts only where the whole interval lies beyond the smallest one that matters in practice, and two
artifacts are the same only where it lies wholly within. Where time ran out over a wide interval, a difference must also
be twice what the interval leaves open: 95 % is too little for a verdict that is never to call equals different.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import events
from edgekit.core.errors import UsageError
from edgekit.core.evidence import Measurement, Timing
from edgekit.data.metrics.intervals import Interval, paired_mean
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL, measure
from edgekit.devices.opening import using
from edgekit.pipeline.bench import Runnable, find_runnable
from edgekit.report.gates import SPEED_RESOLUTION

__all__ = ["Comparison", "compare", "narrow_enough", "ratio_interval", "verdict"]

# Half of the interval's width, as a share of the ratio: five comparisons then differ by less than 2 %.
PRECISION = 0.0075
# Of fewer, an interval is narrow by chance only.
MIN_ROUNDS = 4
# Inferences of each artifact in a process, unless its share of the time ends before.
RUNS = 400
# A process times for at most this share of the whole: twenty rounds can follow one another.
SHARE = 1 / 40

_NOT_RESOLVED = "not resolved"
_Samples = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Comparison:
    """A ÷ B in CPU time.

    Attributes:
        device: where, as its URI.
        ratio: geometric mean over the rounds of A's median CPU time ÷ B's; None where nothing was timed (emulation).
        ci95: the 95 % interval of the ratio; None with it.
        ratio_wall_min: of the wall-time minima over all inferences, as a cross-check.
        verdict: said of A: "faster" or "slower" (by more than 2 %), "the same" (within 2 %), or "not resolved".
        rounds: how many the figures rest on.
        notes: why it is not resolved, and what the script doubts of its runs.
        measurements: of A and of B, over the inferences of all rounds.
    """

    a: str
    b: str
    device: str
    ratio: float | None
    ci95: Interval | None
    ratio_wall_min: float | None
    verdict: str
    rounds: int
    notes: tuple[str, ...]
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class _Run:
    """An artifact in one process: milliseconds of each inference, CPU and wall."""

    measurement: Measurement
    cpu: _Samples
    wall: _Samples


@dataclass(frozen=True)
class _Process:
    """A and B as one process ran them, in whichever order, and why the script calls that run invalid, if it does."""

    a: _Run
    b: _Run
    invalid: tuple[str, ...]

    @property
    def log_ratio(self) -> float:
        return math.log(np.median(self.a.cpu) / np.median(self.b.cpu))


@dataclass(frozen=True)
class _Round:
    """Two processes: A before B, and B before A."""

    processes: tuple[_Process, _Process]

    @property
    def log_ratio(self) -> float:
        return statistics.fmean(process.log_ratio for process in self.processes)


def compare(
    first: str | Path, second: str | Path, *, device: Device | str = LOCAL, threads: int = 1, max_seconds: float = 60.0
) -> Comparison:
    """Time artifact A, `first`, against B, `second`, and say whether the difference is real.

    Args:
        first, second: targets' folders, or files that one runtime opens.
        device: where; a URI will do.
        threads: threads of the runtime.
        max_seconds: no round begins that would end later, but for the first four.

    Raises:
        UsageError: the two run on different runtimes, which one process can't interleave.
    """
    a, b = find_runnable(Path(first)), find_runnable(Path(second))
    if a.path.suffix != b.path.suffix or len({a.runtime, b.runtime} - {None}) > 1:
        raise UsageError(
            f"{a.path.name} and {b.path.name} run on different runtimes, and only one can be timed in one process",
            blame="the command line",
            remedy="Compare artifacts of one runtime; time each alone with: edgekit bench ARTIFACT",
        )
    with events.stage(f"compare {a.name} with {b.name}"), using(device) as there:
        return _compare(a, b, there, threads, max_seconds)


def ratio_interval(log_ratios: Sequence[float]) -> tuple[float, Interval | None]:
    """Geometric mean of the rounds' ratios, and its 95 % interval, from Student's of the logarithms."""
    ratio = math.exp(statistics.fmean(log_ratios))
    interval = paired_mean(np.asarray(log_ratios))
    return ratio, interval and (math.exp(interval[0]), math.exp(interval[1]))


def narrow_enough(log_ratios: Sequence[float]) -> bool:
    """Whether no further round is needed. Where the interval lies is not looked at: that would favour a chance."""
    if len(log_ratios) < MIN_ROUNDS:
        return False
    _, interval = ratio_interval(log_ratios)
    return interval is not None and _half_width(interval) <= PRECISION


def verdict(ci95: Interval, smallest: float = SPEED_RESOLUTION) -> str:
    """What an interval says of A: a difference counts from `smallest`, as a share, on."""
    low, high = ci95
    if low >= 1 / (1 + smallest) and high <= 1 + smallest:
        return "the same"
    clear = abs(math.log(low * high) / 2) >= 2 * _half_width(ci95)
    if clear and low > 1 + smallest:
        return "slower"
    return "faster" if clear and high < 1 / (1 + smallest) else _NOT_RESOLVED


def _compare(a: Runnable, b: Runnable, device: Device, threads: int, max_seconds: float) -> Comparison:
    began = time.monotonic()
    rounds: list[_Round] = []

    def run(first: Runnable, second: Runnable) -> _Process:
        with _silenced():
            process = _run(first, second, device, threads, max_seconds * SHARE)
        events.progress("timing", min(1.0, (time.monotonic() - began) / max_seconds))
        return process

    while not narrow_enough(_log_ratios(rounds)) and _in_time(len(rounds), time.monotonic() - began, max_seconds):
        forward = run(a, b)
        if untimed := [each.measurement for each in (forward.a, forward.b) if each.measurement.timing is None]:
            note = f"{untimed[0].kind}: no latency"
            both = (forward.a.measurement, forward.b.measurement)
            return Comparison(a.name, b.name, device.uri, None, None, None, _NOT_RESOLVED, 0, (note,), both)
        backward = run(b, a)
        rounds.append(_Round((forward, replace(backward, a=backward.b, b=backward.a))))
    return _conclude(a.name, b.name, device.uri, rounds)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """How far a single process is tells nothing of the whole."""
    listener = events.current_listener()

    def hear(event: events.Event) -> None:
        if listener is not None and event.kind != "progress":
            listener(event)

    with events.listening(hear):
        yield


def _run(ours: Runnable, other: Runnable, device: Device, threads: int, max_seconds: float) -> _Process:
    """One process, which loads and runs `ours` first; said of `ours` as A."""
    measurements, answer = measure(
        ours.path,
        device=device,
        options=ours.options,
        against=[(other.path, other.options)],
        runtime=ours.runtime_on(device) or other.runtime_on(device),
        threads=threads,
        repeats=1,
        runs=RUNS,
        max_seconds=max_seconds,
        digest=ours.digest,
    )
    runs = []
    for measurement, artifact in zip(measurements, answer["artifacts"], strict=True):
        timing = artifact["timing"] or {"samples_cpu_ms": (), "samples_ms": ()}
        runs.append(_Run(measurement, np.asarray(timing["samples_cpu_ms"]), np.asarray(timing["samples_ms"])))
    return _Process(runs[0], runs[1], measurements[0].invalid)


def _log_ratios(rounds: Sequence[_Round]) -> list[float]:
    return [each.log_ratio for each in rounds]


def _half_width(interval: Interval) -> float:
    """Of the logarithm: half of the width as a share of the ratio."""
    return math.log(interval[1] / interval[0]) / 2


def _in_time(done: int, elapsed: float, max_seconds: float) -> bool:
    """Whether another round, as long as those before, ends in time."""
    return done < MIN_ROUNDS or elapsed * (done + 1) / done <= max_seconds


def _conclude(a: str, b: str, device: str, rounds: Sequence[_Round]) -> Comparison:
    """What the rounds say; nothing where the script calls most of the processes invalid.

    A single invalid one counts, since both artifacts met whatever it was, inference by inference; most of them are a
    device that is not fit to measure on.
    """
    ratio, interval = ratio_interval(_log_ratios(rounds))
    assert interval is not None
    processes = [process for each in rounds for process in each.processes]
    doubtful = [process for process in processes if process.invalid]
    fit = len(doubtful) <= len(processes) / 2
    said = verdict(interval) if fit else _NOT_RESOLVED
    runs_a, runs_b = [process.a for process in processes], [process.b for process in processes]
    wall_min = float(min(run.wall.min() for run in runs_a) / min(run.wall.min() for run in runs_b))
    first = replace(_pooled(runs_a), ratio=ratio, ratio_wall_min=wall_min)
    reasons = dict.fromkeys(reason for process in doubtful for reason in process.invalid)
    notes = [f"{len(doubtful)} of {len(processes)} runs invalid: {'; '.join(reasons)}"] if doubtful else []
    notes += [_why(interval)] if said == _NOT_RESOLVED and fit else []
    measurements = (first, _pooled(runs_b))
    return Comparison(a, b, device, ratio, interval, wall_min, said, len(rounds), tuple(notes), measurements)


def _pooled(runs: Sequence[_Run]) -> Measurement:
    """The measurement over the inferences of all processes; loading and the first inference by their medians."""
    wall, cpu = (np.concatenate([getattr(run, name) for run in runs]) for name in ("wall", "cpu"))
    timings = [run.measurement.timing for run in runs if run.measurement.timing]
    p50, p90, p99 = (float(q) for q in np.percentile(wall, (50, 90, 99)))
    timing = Timing(
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        min_ms=float(wall.min()),
        cpu_ms=float(np.median(cpu)),
        first_ms=statistics.median(timing.first_ms for timing in timings),
        load_ms=statistics.median(timing.load_ms for timing in timings),
        runs=len(wall),
    )
    invalid = tuple(dict.fromkeys(reason for run in runs for reason in run.measurement.invalid))
    return replace(runs[0].measurement, timing=timing, ratio=None, ratio_wall_min=None, invalid=invalid)


def _why(interval: Interval) -> str:
    half = _half_width(interval)
    if half <= PRECISION:
        return f"the difference is close to {SPEED_RESOLUTION:.0%}, the smallest that counts"
    return f"±{half:.1%} is too wide: give it more time with --max-seconds, or a quieter machine"
