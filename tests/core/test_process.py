"""A program that is run under limits can't take more, can't outlive its run, and its end can be told."""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.core.errors import DefectError, InvalidInputError
from edgekit.core.process import Finished, Limits, explain_death, run_limited

_MIB = 1 << 20


def _python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def _run(program: str, **options) -> Finished:
    return run_limited(_python(program), **{"limits": Limits(seconds=30), **options})


def _story(finished: Finished, limits: Limits | None = None) -> str:
    error = explain_death(finished, what="importing m.h5", limits=limits or Limits(), blame="your model")
    assert isinstance(error, InvalidInputError)
    assert error.blame == "your model"
    assert error.remedy
    return error.cause


def _gone(pid: int, seconds: float = 5) -> bool:
    """Whether the process ends in time; a zombie that nobody has collected yet has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.02)
                continue
        return True
    return False


def test_lines_come_in_order_and_the_end_is_told() -> None:
    lines: list[str] = []
    finished = _run(
        "import sys; print('a'); print('b'); print('why', file=sys.stderr); sys.exit(3)", on_line=lines.append
    )
    assert lines == ["a\n", "b\n"]
    assert (finished.returncode, finished.stderr, finished.killed_for) == (3, "why\n", None)
    story = explain_death(finished, what="importing m.h5", limits=Limits(), blame="your model")
    assert isinstance(story, DefectError), "it ended in order: its input is not to blame"
    assert story.cause == "importing m.h5 ended with exit code 3 and no answer: why"


def test_bytes_that_are_no_text_do_no_harm() -> None:
    lines: list[str] = []
    finished = _run(r"import os; os.write(1, b'\xff\xfe\n'); os.write(2, b'\xff\n')", on_line=lines.append)
    assert finished.returncode == 0
    assert len(lines) == 1


def test_much_output_does_not_block() -> None:
    finished = _run("import sys; [sys.stderr.write('x' * 79 + '\\n') for _ in range(20000)]")
    assert finished.returncode == 0
    assert len(finished.stderr) == 80 * 400  # what an error can quote; the rest was read and dropped


def test_too_much_memory_ends_it() -> None:
    limits = Limits(memory_bytes=150 * _MIB, seconds=30)
    finished = _run("import time; x = bytearray(400 << 20); time.sleep(30)", limits=limits)
    assert finished.killed_for == "memory"
    assert finished.peak_bytes > limits.memory_bytes
    assert "took more than 150 MiB of memory and was stopped" in _story(finished, limits)


def test_the_memory_of_its_children_counts() -> None:
    child = "import time; x = bytearray(400 << 20); time.sleep(30)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert _run(program, limits=Limits(memory_bytes=150 * _MIB, seconds=30)).killed_for == "memory"


def test_too_much_time_ends_it() -> None:
    limits = Limits(seconds=0.5)
    start = time.monotonic()
    finished = _run("import time; time.sleep(60)", limits=limits)
    assert finished.killed_for == "time"
    assert time.monotonic() - start < 10
    assert "took longer than" in _story(finished, limits)


def test_a_crash_is_told_by_its_signal() -> None:
    finished = _run("import os; os.abort()")
    assert finished.killed_for is None
    assert "importing m.h5 crashed with SIGABRT" in _story(finished)


@pytest.mark.parametrize("ends", ["", "import time; time.sleep(60)"], ids=["by itself", "by the limit"])
def test_no_child_of_it_outlives_it(ends: str) -> None:
    lines: list[str] = []
    program = f"import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=-3).pid, flush=True); {ends}"
    _run(program, on_line=lines.append, limits=Limits(seconds=2))
    assert _gone(int(lines[0]))


def test_an_interrupt_ends_it() -> None:
    lines: list[str] = []
    timer = threading.Timer(1, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        _run("import os, time; print(os.getpid(), flush=True); time.sleep(60)", on_line=lines.append)
    timer.join()
    assert _gone(int(lines[0]))


def test_it_gets_the_environment_and_folder_it_is_given(tmp_path: Path) -> None:
    lines: list[str] = []
    environment = {**os.environ, "EDGEKIT_PROBE": "yes"}
    _run(
        "import os; print(os.environ['EDGEKIT_PROBE'], os.getcwd())",
        env=environment,
        cwd=tmp_path,
        on_line=lines.append,
    )
    assert lines == [f"yes {tmp_path.resolve()}\n"]
