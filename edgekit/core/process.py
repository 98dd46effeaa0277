"""Running another program without trusting it to fail politely: limits on memory and time, no orphan left behind."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import functools
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from edgekit.core.errors import DefectError, EdgekitError, InvalidInputError
from edgekit.core.stopping import check_stopped

__all__ = [
    "Finished",
    "Limits",
    "Running",
    "explain_death",
    "repeatable_environment",
    "repeatable_settings",
    "run_limited",
]

_POLL_SECONDS = 0.02
_KEPT_LINES = 400
_LONGEST_LINE = 1 << 20
_PR_SET_PDEATHSIG = 1
_LESS = "Give it less to do (a smaller input shape, batch or file), or run it on a machine with more memory."
_REPORT = "Check the file with the tool that wrote it; if it is sound, run again with --debug and report the log."
_LIBC = ctypes.CDLL(None)


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True)
class Limits:
    """What a process may take: resident memory of its whole group in bytes, and wall time in seconds."""

    memory_bytes: int = field(default_factory=lambda: min(8 << 30, _physical_memory() * 3 // 4))
    seconds: float = 3600.0


@dataclass(frozen=True)
class Finished:
    """How a process ended. `killed_for` is "memory" or "time" when a limit ended it."""

    returncode: int
    stderr: str
    killed_for: str | None
    peak_bytes: int


def repeatable_settings(threads: int) -> dict[str, str]:
    """What bounds thread counts, fixes hashing and turns the libraries' start-up chatter off, in any environment."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONWARNINGS": "ignore",
    }


def repeatable_environment(threads: int) -> dict[str, str]:
    """Our environment with `repeatable_settings`."""
    return {**os.environ, **repeatable_settings(threads)}


class Running:
    """A program at work beside us, in a process group of its own, which dies with the thread that started it.

    Attributes:
        stdin: where the program reads, if it was started with stdin=subprocess.PIPE.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: IO[bytes] | None = None,
        on_line: Callable[[str], None] | None = None,
        on_error_line: Callable[[str], None] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start it.

        Args:
            argv: the program and its arguments.
            env: the whole environment, or None for ours.
            cwd: working folder.
            stdin: as `subprocess.Popen` takes it.
            stdout: a file for its output, instead of `on_line`.
            on_line: gets each line of stdout as it comes.
            on_error_line: gets each line of stderr as it comes; the last ones are kept for `stderr` as well.
            death_signal: what ends it when we die.
        """
        self._process = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=functools.partial(_die_with_parent, os.getpid(), death_signal),  # noqa: PLW1509 - no lock taken
        )
        self.stdin = self._process.stdin
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)

        def keep(line: str) -> None:
            self._errors.append(line)
            if "EDGEKIT_DEBUG" in os.environ:
                sys.stderr.write(line)
            if on_error_line:
                on_error_line(line)

        streams = ((self._process.stdout, on_line or (lambda _line: None)), (self._process.stderr, keep))
        # Threads begin with an empty context: without ours, an event that a line carries would reach no listener.
        self._readers = [
            threading.Thread(target=contextvars.copy_context().run, args=(_forward, stream, sink), daemon=True)
            for stream, sink in streams
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    @property
    def stderr(self) -> str:
        """The last lines of its stderr."""
        return "".join(self._errors)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the whole group; 0 where the system has no /proc."""
        return _group_memory(self._process.pid)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None if it still runs after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def end(self) -> int:
        """End the whole group, whatever is left of it; the program's exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        if self.stdin:
            with contextlib.suppress(OSError):  # what was written too late
                self.stdin.close()
        for reader in self._readers:
            reader.join(timeout=5)
        return code


def run_limited(
    argv: Sequence[str],
    *,
    limits: Limits,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_error_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    stdin: Path | None = None,
    stdout: Path | None = None,
) -> Finished:
    """Run `argv` to its end in a process group of its own; a limit, an exception or an interrupt ends the whole group.

    So does whoever stops this context's work: see `edgekit.core.stopping`.

    Args:
        argv: the program and its arguments.
        limits: memory and time; the memory of the group is sampled every 20 ms.
        env: the whole environment, or None for ours.
        on_line: gets each line of stdout as it comes.
        on_error_line: gets each line of stderr as it comes; the last ones are kept for `Finished.stderr` as well.
        cwd: working folder.
        stdin: a file that it reads.
        stdout: a file for its output, instead of `on_line`.
    """
    with contextlib.ExitStack() as files:
        process = Running(
            argv,
            env=env,
            cwd=cwd,
            stdin=files.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL,
            stdout=files.enter_context(stdout.open("wb")) if stdout else None,
            on_line=on_line,
            on_error_line=on_error_line,
        )
        killed_for, peak, deadline = None, 0, time.monotonic() + limits.seconds
        try:
            while process.poll() is None:
                check_stopped()
                used = process.memory_bytes
                peak = max(peak, used)
                killed_for = "memory" if used > limits.memory_bytes else "time" if time.monotonic() > deadline else None
                if killed_for:
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            code = process.end()
    return Finished(code, process.stderr, killed_for, peak)


def explain_death(finished: Finished, *, what: str, limits: Limits, blame: str) -> EdgekitError:
    """The error for a process that ended without an answer.

    Args:
        what: the work, as a phrase: "importing model.h5".
        blame: whose input it worked on.
    """
    if finished.killed_for == "memory":
        cause = f"{what} took more than {limits.memory_bytes >> 20} MiB of memory and was stopped"
    elif finished.killed_for == "time":
        cause = f"{what} took longer than {limits.seconds:.0f} s and was stopped"
    elif finished.returncode < 0:
        cause = f"{what} crashed with {_signal_name(-finished.returncode)}"
    else:
        # It ended in order and still gave no answer: that is no input's doing.
        blame, cause = "edgekit", f"{what} ended with exit code {finished.returncode} and no answer"
    last = [line for line in finished.stderr.strip().splitlines() if line.strip()][-1:]
    if last:
        cause += f": {last[0].strip()[:300]}"
    kind = DefectError if blame == "edgekit" else InvalidInputError
    return kind(cause, blame=blame, remedy=_LESS if finished.killed_for == "memory" else _REPORT)


def _die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    """In the new process, before it becomes the program: ask the kernel to end it when we end, however we end."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        os._exit(1)


def _signal_name(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name} (often the system's own answer to too little memory)" if number == signal.SIGKILL else name


def _forward(stream: IO[bytes], sink: Callable[[str], object]) -> None:
    """Pass lines on; a sink that fails is not called again, but the pipe is emptied, or its writer would hang."""
    with io.TextIOWrapper(stream, encoding="utf-8", errors="replace") as text:
        lines = iter(functools.partial(text.readline, _LONGEST_LINE), "")
        try:
            for line in lines:
                sink(line)
        finally:
            deque(lines, maxlen=0)


def _group_memory(leader: int) -> int:
    """Resident bytes of every process in the group `leader`; 0 where the system has no /proc."""
    total = 0
    for pid in _group_members(leader):
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _group_members(leader: int) -> list[int]:
    """The leader and its descendants, by walking the kernel's lists of children."""
    found, todo = [], [leader]
    while todo:
        pid = todo.pop()
        found.append(pid)
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
    return found
