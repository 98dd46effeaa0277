"""The bench script's --keep and --within: one run at a time on a device, and nothing left behind, whoever is killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.script import ROOT, SCRIPT, bench

MODEL = ROOT / "models" / "digits-cnn" / "digits-cnn.onnx"

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the script with these arguments."""
    with contextlib.ExitStack() as started:

        def start(*arguments: object, python: tuple[str, ...] = ()) -> Process:
            process = subprocess.Popen(
                [sys.executable, *python, str(SCRIPT), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "TMPDIR": str(tmp_path)},
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def keep(start: Start) -> Start:
    """Starts a keeper. Its Python sees no packages, so that it has no runtime to probe, nor numpy to need."""
    return lambda: start("--keep", python=("-S", "-E"))


@pytest.fixture
def run(start: Start) -> Start:
    """Starts a run in a keeper's folder that would take ten minutes; it is timing when this returns."""

    def run(folder: object) -> Process:
        process = start(
            MODEL, "--runtime", "onnxruntime", "--within", folder, "--runs", 10**7, "--max-seconds", 600, "--progress"
        )
        assert process.stderr
        assert "timing" in process.stderr.readline()
        return process

    return run


def leave(keeper: Process) -> None:
    """The caller of a keeper goes."""
    assert keeper.stdin
    keeper.stdin.close()
    keeper.wait(timeout=20)


def first_line(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline()


def ready(keeper: Process) -> dict[str, Any]:
    line = first_line(keeper)
    assert line.startswith("edgekit-ready {")
    facts: dict[str, Any] = json.loads(line.partition(" ")[2])
    return facts


def test_the_folder_is_there_until_stdin_ends(keep: Start, tmp_path: Path) -> None:
    keeper = keep()
    facts = ready(keeper)
    folder = Path(facts["folder"])
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (facts["schema_version"], facts["kind"], facts["numpy"]) == (2, "measured", None)
    assert facts["temp"]["free_bytes"] > 0
    assert facts["device"]["machine"] == os.uname().machine
    (folder / "below").mkdir()
    (folder / "below" / "model.tflite").write_bytes(b"1")
    leave(keeper)
    assert keeper.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(keep: Start, tmp_path: Path, number: signal.Signals) -> None:
    keeper = keep()
    ready(keeper)
    keeper.send_signal(number)
    assert keeper.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_caller_that_gives_no_sign_of_life_any_more_ends_it(tmp_path: Path) -> None:
    impatient = SCRIPT.read_text().replace("SIGN_OF_LIFE_SECONDS = 60.0", "SIGN_OF_LIFE_SECONDS = 2.0")
    keeper = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", impatient, "--keep"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    with keeper:
        assert keeper.stdin
        ready(keeper)
        for _ in range(5):  # longer than it bears to hear nothing
            keeper.stdin.write("\n")
            keeper.stdin.flush()
            time.sleep(0.6)
        assert keeper.poll() is None
        assert keeper.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_a_folder_to_write_to_says_so() -> None:
    nowhere = f"""
import runpy, tempfile
tempfile._candidate_tempdir_list = lambda: ["/proc"]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    command = [sys.executable, "-S", "-E", "-c", nowhere, "--keep", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert "no folder for temporary files can be written" in error["cause"]
    assert (error["blame"], error["remedy"]) == ("this device", "Name one that can, in TMPDIR.")


def test_a_second_one_waits_and_says_so_once(keep: Start, tmp_path: Path) -> None:
    first, second, third = keep(), keep(), keep()
    ready_first = [each for each in (first, second, third) if first_line(each).startswith("edgekit-ready")]
    assert len(ready_first) == 1
    (holder,) = ready_first
    waiting = [each for each in (first, second, third) if each is not holder]
    leave(waiting[0])  # it waits no more
    assert waiting[1].poll() is None
    leave(holder)
    ready(waiting[1])
    leave(waiting[1])
    assert list(tmp_path.iterdir()) == []


def test_what_runs_in_the_folder_ends_with_it(keep: Start, run: Start, tmp_path: Path) -> None:
    keeper = keep()
    folder = ready(keeper)["folder"]
    running = run(folder)
    assert running.poll() is None
    leave(keeper)
    assert running.wait(timeout=20) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_keeper_is_killed_ends_by_itself_and_the_next_keeper_sweeps(
    keep: Start, run: Start, tmp_path: Path
) -> None:
    keeper = keep()
    folder = Path(ready(keeper)["folder"])
    running = run(folder)
    keeper.kill()
    assert running.wait(timeout=20) == 1
    assert folder.exists()  # nobody was there to remove it
    theirs = tmp_path / "edgekit-theirs"
    theirs.mkdir()
    ready(following := keep())
    assert not folder.exists()
    leave(following)
    assert list(tmp_path.iterdir()) == [theirs]


def test_a_stopped_run_of_a_killed_keeper_is_killed_by_the_next(keep: Start, run: Start, tmp_path: Path) -> None:
    keeper = keep()
    running = run(ready(keeper)["folder"])
    running.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WNOWAIT)
    keeper.kill()
    following = keep()
    ready(following)
    assert running.wait(timeout=20) == -signal.SIGKILL
    leave(following)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_over_leaves_no_record(keep: Start, tmp_path: Path) -> None:
    keeper = keep()
    folder = Path(ready(keeper)["folder"])
    document, _ = bench(MODEL, "--within", folder, "--no-timing")
    assert document["schema_version"] == 2
    assert [file.name for file in folder.iterdir()] == ["keeper"]


def test_within_a_folder_that_nobody_keeps_is_refused(tmp_path: Path) -> None:
    document, process = bench(MODEL, "--within", tmp_path, "--no-timing")
    assert process.returncode == 2
    assert "no folder that a keeper made" in document["error"]["cause"]


def test_the_inventory_is_what_was_brought_there(keep: Start, tmp_path: Path) -> None:
    folder = Path(ready(keep())["folder"])
    (folder / "golden").mkdir()
    for name in ("model.tflite", "golden/0.npz"):
        (folder / name).write_bytes(name.encode())
    document, _ = bench("--within", folder, "--inventory")
    told = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("model.tflite", "golden/0.npz")}
    assert document["digests"] == told
    assert document["free_bytes"] > 0


def test_a_caller_that_was_heard_and_falls_silent_is_gone(tmp_path: Path) -> None:
    """A minute of silence; the test shortens it. The script arrives on stdin, as on a board, and stdin goes on."""
    text = SCRIPT.read_text().replace("SIGN_OF_LIFE_SECONDS = 60.0", "SIGN_OF_LIFE_SECONDS = 1.0")
    assert text != SCRIPT.read_text()
    code = f"exec(compile(open(0, 'rb', closefd=False).read({len(text.encode())}), 'bench_on_device.py', 'exec'))"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code, "--keep"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as keeper:
        assert keeper.stdin
        assert keeper.stdout
        keeper.stdin.write(text.encode())
        keeper.stdin.flush()
        assert keeper.stdout.readline().startswith(b"edgekit-ready")
        for _ in range(4):  # longer than the silence that is allowed
            time.sleep(0.5)
            keeper.stdin.write(b"\n")
            keeper.stdin.flush()
        assert keeper.poll() is None
        assert keeper.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_locks_place_is_refused(keep: Start, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / f"edgekit-{os.getuid()}.lock").symlink_to(tmp_path / "precious")
    keeper = keep()
    leave(keeper)
    assert keeper.returncode == 2
    assert (tmp_path / "precious").read_text() == "years of work"
