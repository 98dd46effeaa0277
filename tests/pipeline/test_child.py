"""A stage in a child process: answer, errors and progress arrive; crashes and excesses become errors."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.core import errors, events
from edgekit.core.errors import DefectError, EdgekitError, InvalidInputError
from edgekit.core.process import Limits
from edgekit.pipeline.child import call, in_process

_STAGE = """
import atexit, os, signal, sys, tempfile, time
from pathlib import Path
from edgekit.core import errors, events

def double(value, where): return {"value": 2 * value, "where": where, "path": Path("a/b")}
def refuse(error): raise getattr(errors, error)("the cause", blame="your data", remedy="Run: edgekit fix")
def stumble(): return {}["missing"]
def whoami(): return os.getpid()
def leave_a_note(path): atexit.register(Path(path).write_text, "the end")
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def leave(): os._exit(7)
def quit_early(): sys.exit('enough')
def hoard(): x = bytearray(600 << 20); time.sleep(60)
def dawdle(): time.sleep(60)
def report():
    events.progress("half of it", 0.5)
    print("chatter of a library")
    os.write(1, b"\\xff more chatter\\n")
    events.warn("mind the gap")
def environment(): return {"hash": os.environ["PYTHONHASHSEED"], "threads": os.environ["OMP_NUM_THREADS"]}
def reckon():
    import onnx_ir
    unused = "sympy.core" not in sys.modules
    return unused, (onnx_ir.SymbolicDim("n") + 1).value
def wait(pid_file):
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(60)
def litter():
    Path(tempfile.mkdtemp(), "half").write_text("made")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the child can import."""
    (tmp_path / "the_stage.py").write_text(_STAGE)
    found = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *([found] if found else [])]))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def _call(name: str, limits: Limits | None = None, threads: int = 1, **arguments):
    limits = limits or Limits(seconds=60)
    return call(f"the_stage:{name}", arguments, what="reading m.h5", blame="your model", limits=limits, threads=threads)


def test_arguments_and_answer_cross_as_json(tmp_path: Path) -> None:
    assert _call("double", value=21, where=tmp_path) == {"value": 42, "where": str(tmp_path), "path": "a/b"}


def test_what_is_to_be_done_at_the_end_is_done(tmp_path: Path) -> None:
    _call("leave_a_note", path=tmp_path / "note")
    assert (tmp_path / "note").read_text() == "the end"


def test_symbolic_dimensions_cost_no_import_until_something_is_reckoned_with_them() -> None:
    assert _call("reckon") == [True, "n + 1"]


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"EdgekitError", "from_dict", "from_system"}))
def test_an_error_keeps_its_class_exit_code_and_words(name: str) -> None:
    with pytest.raises(EdgekitError) as caught:
        _call("refuse", error=name)
    error = caught.value
    assert type(error) is getattr(errors, name)
    assert error.exit_code == getattr(errors, name).exit_code
    assert (error.cause, error.blame, error.remedy) == ("the cause", "your data", "Run: edgekit fix")


def test_any_other_exception_is_a_defect_that_names_it() -> None:
    with pytest.raises(DefectError, match=r"KeyError: 'missing' \(in the_stage:stumble\)"):
        _call("stumble")


def test_a_stage_that_is_not_there_is_a_defect() -> None:
    with pytest.raises(DefectError, match="AttributeError"):
        _call("nothing")


@pytest.mark.parametrize(
    ("name", "limits", "story"),
    [
        ("crash", Limits(seconds=60), "reading m.h5 crashed with SIGSEGV"),
        ("hoard", Limits(memory_bytes=300 << 20, seconds=60), "reading m.h5 took more than 300 MiB of memory"),
        ("dawdle", Limits(seconds=1), "reading m.h5 took longer than 1 s"),
    ],
)
def test_a_child_that_dies_without_an_answer_has_its_story_told(name: str, limits: Limits, story: str) -> None:
    with pytest.raises(InvalidInputError, match=story) as caught:
        _call(name, limits)
    assert caught.value.blame == "your model"


def test_a_child_that_leaves_in_order_without_an_answer_is_a_defect_of_ours() -> None:
    with pytest.raises(DefectError, match=r"reading m\.h5 ended with exit code 7 and no answer"):
        _call("leave")


def test_code_that_exits_is_told_as_its_own_doing() -> None:
    with pytest.raises(InvalidInputError, match=r"called exit\('enough'\)") as caught:
        _call("quit_early")
    assert caught.value.blame == "your model"


def test_a_file_in_the_users_folder_is_never_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "json.py").write_text("raise SystemExit('taken')")
    monkeypatch.chdir(here)
    assert _call("environment", threads=1) == {"hash": "0", "threads": "1"}


def test_progress_and_warnings_arrive_and_chatter_does_not() -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        _call("report")
    assert heard == [events.Event("progress", "half of it", 0.5), events.Event("warning", "mind the gap")]


def test_threads_and_hashing_are_fixed() -> None:
    assert _call("environment", threads=3) == {"hash": "0", "threads": "3"}


def test_a_killed_parent_takes_its_child_along_and_the_next_one_removes_its_folder(
    tmp_path: Path, temporary: Path
) -> None:
    """A build that is stopped by force leaves no converter behind, and no files for long."""
    pid_file = tmp_path / "pid"
    program = (
        "from edgekit.pipeline.child import call; "
        f"call('the_stage:wait', {{'pid_file': {str(pid_file)!r}}}, what='waiting', blame='nobody')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert _until(lambda: pid_file.exists() and pid_file.read_text() != "", 30)
        child = int(pid_file.read_text())
        (folder,) = temporary.iterdir()
        long_ago = time.time() - 3600
        os.utime(folder, (long_ago, long_ago))
        _call("environment")
        assert list(temporary.iterdir()) == [folder], "its maker lives"
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert _until(lambda: not _runs(child), 5)
    assert (folder / "job.json").exists()
    _call("environment")
    assert list(temporary.iterdir()) == []


def _until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := bool(condition())) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


def _runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_it_leaves_no_files_even_when_it_is_killed(temporary: Path) -> None:
    with pytest.raises(InvalidInputError, match="SIGKILL"):
        _call("litter")
    assert list(temporary.iterdir()) == []


def test_what_is_in_a_child_already_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    with in_process():
        assert _call("whoami") == os.getpid()
        assert _call("double", value=21, where=tmp_path) == {"value": 42, "where": str(tmp_path), "path": "a/b"}
        with pytest.raises(InvalidInputError, match="the cause"):
            _call("refuse", error="InvalidInputError")
    assert _call("whoami") != os.getpid()
