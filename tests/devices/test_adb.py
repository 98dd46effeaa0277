"""Boards behind adb: the real client and its server, against an adbd of our own whose commands are real processes."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.core import events
from edgekit.core.errors import DeviceError, EdgekitError, MissingToolError, UsageError
from edgekit.devices.adb import Attached, attached_boards, out_of_reach, parse_uri
from edgekit.devices.base import Device
from edgekit.devices.bench import measure
from edgekit.devices.fleet import gather_boards, run_fleet
from edgekit.devices.opening import open_device
from tests.devices.sshd import tools

MODEL = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"


@dataclass
class Board:
    """An adbd at work, and the folder that its device's files lie in."""

    process: subprocess.Popen[str]
    root: Path
    serial: str

    @property
    def uri(self) -> str:
        return f"adb://{self.serial}?python={sys.executable}"

    @property
    def left(self) -> list[str]:
        """What lies in the device's temporary folder."""
        return sorted(path.name for path in (self.root / "data/local/tmp").iterdir())

    def wait_until_clean(self) -> None:
        deadline = time.monotonic() + 20
        while self.left and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.left == []


Start = Callable[..., Board]


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real client on the PATH, with a server and keys of its own."""
    unpacked, folder = tools(), tmp_path_factory.mktemp("adb")
    libraries = {str(library.parent) for library in (unpacked / "usr/lib").rglob("*.so*")}
    client = folder / "adb"
    client.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={shlex.quote(':'.join(sorted(libraries)))}\n"
        f'exec {shlex.quote(str(unpacked / "usr/lib/android-sdk/platform-tools/adb"))} "$@"\n'
    )
    client.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("HOME", str(folder))
        patch.setenv("TMPDIR", str(folder))  # adb's log
        yield client
        subprocess.run([client, "kill-server"], check=True)


@pytest.fixture
def start(adb: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts an adbd, which listens and is not connected yet."""
    boards: list[Board] = []

    def start(*options: str, root: Path | None = None, most_bytes: int | None = None) -> Board:
        root = root or tmp_path / f"board-{len(boards)}"
        (root / "data/local/tmp").mkdir(parents=True, exist_ok=True)
        limit = ["prlimit", f"--fsize={most_bytes}"] if most_bytes else []
        command = [*limit, sys.executable, str(Path(__file__).parent / "adbd.py"), str(root), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        boards.append(Board(process, root, f"127.0.0.1:{process.stdout.readline().strip()}"))
        return boards[-1]

    yield start
    for board in boards:
        board.process.kill()
        board.process.communicate()
        # What never was connected can't be disconnected.
        subprocess.run([adb, "disconnect", board.serial], capture_output=True, check=False)


@contextlib.contextmanager
def opened(uri: str) -> Iterator[Device]:
    device = open_device(uri)
    try:
        yield device
    finally:
        device.close()


def test_a_real_artifact_runs_there_and_its_answers_come_back(start: Start, tmp_path: Path) -> None:
    board, samples = start(), tmp_path / "x.npz"
    with np.load(MODEL.parent / "eval.npz") as data:
        np.savez(samples, x=data["x"][:50])
    measure(MODEL, inputs=samples, outputs=tmp_path / "here.npz", timing=False)
    with opened(board.uri) as device:
        (there,), _ = measure(MODEL, device=device, inputs=samples, outputs=tmp_path / "there.npz", repeats=1)
        assert board.left != []
    board.wait_until_clean()
    assert there.timing is not None
    with np.load(tmp_path / "here.npz") as here, np.load(tmp_path / "there.npz") as other:
        for name in here.files:
            np.testing.assert_array_equal(here[name], other[name])


def test_a_board_that_goes_half_way_is_said_to_be_gone_and_keeps_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.devices.remote._PAUSES", (0.1, 0.1))
    board = start()

    def pull_the_plug(event: events.Event) -> None:
        if event.text == "timing":
            board.process.kill()

    with (
        events.listening(pull_the_plug),
        opened(board.uri) as device,
        pytest.raises(DeviceError, match=f"adb sees no board {board.serial}") as caught,
    ):
        measure(MODEL, device=device, repeats=1000, max_seconds=60)
    assert f"adb connect {board.serial}" in caught.value.remedy
    board.wait_until_clean()


def test_a_board_that_comes_back_gets_the_work_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.devices.remote._PAUSES", (0.1, 0.1))
    first = start()
    boards, warnings = [first], []

    def restart(event: events.Event) -> None:
        if event.text == "timing" and len(boards) == 1:
            first.process.kill()
            first.process.wait()
            boards.append(start("--port", first.serial.rpartition(":")[2], root=first.root))
        if event.kind == "warning":
            warnings.append(event.text)

    with events.listening(restart), opened(first.uri) as device:
        (measured,), _ = measure(MODEL, device=device, repeats=1)
    assert measured.timing is not None
    assert len(boards) == 2
    assert "trying again" in warnings[0]
    first.wait_until_clean()


def test_an_interrupt_ends_the_work_of_every_board_and_nothing_is_left(start: Start) -> None:
    boards = [start(), start()]
    timing: set[str] = set()

    def interrupt(event: events.Event) -> None:
        if event.text == "timing" and len(timing) < 2:
            timing.add(event.source)
            if len(timing) == 2:
                os.kill(os.getpid(), signal.SIGINT)  # which only the main thread hears

    began = time.monotonic()
    # A shell starts what runs behind it with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with events.listening(interrupt), pytest.raises(KeyboardInterrupt):
            run_fleet(
                gather_boards([board.uri for board in boards]),
                lambda _, device: measure(MODEL, device=device, runs=10**6, max_seconds=300),
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 150
    assert [board.left for board in boards] == [[], []]


@pytest.mark.parametrize(
    ("options", "uri", "words"),
    [
        (("--unauthorized",), "{uri}", ("has not allowed this computer", "allow USB debugging")),
        (("--old-shell",), "{uri}", ("an Android before 7", "Android 7 or newer")),
        ((), "adb://emulator-5554", ("adb sees no board emulator-5554", "adb devices -l")),
        ((), "adb://127.0.0.1:1", ("adb sees no board 127.0.0.1:1", "adb connect 127.0.0.1:1")),
        ((), "adb://{serial}?python=/no/python", ("has no /no/python", "com.termux/files/usr/bin/python3")),
    ],
)
def test_each_obstacle_has_one_clear_error(
    start: Start, options: tuple[str, ...], uri: str, words: tuple[str, str]
) -> None:
    board = start(*options)
    named = uri.format(uri=board.uri, serial=board.serial)
    with opened(named) as device, pytest.raises(EdgekitError) as caught:
        device.probe()
    assert type(caught.value) is (MissingToolError if "no/python" in uri else DeviceError)
    assert words[0] in caught.value.cause
    assert words[1] in caught.value.remedy
    assert board.left == []


def test_a_board_without_room_says_so(start: Start) -> None:
    board = start(most_bytes=40_000)
    with opened(board.uri) as device, pytest.raises(DeviceError, match="no room"):
        measure(MODEL, device=device, timing=False)
    board.wait_until_clean()


def test_without_a_client_the_line_that_installs_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        opened("adb://emulator-5554") as device,
        pytest.raises(MissingToolError, match="this machine has no adb") as caught,
    ):
        device.probe()
    assert "apt install adb" in caught.value.remedy


def test_the_boards_that_adb_sees_are_listed_with_their_states(start: Start, adb: Path) -> None:
    boards = [start(), start("--unauthorized"), start()]
    for board in boards:
        subprocess.run([adb, "connect", board.serial], stdout=subprocess.DEVNULL, check=True)
    boards[2].process.kill()
    deadline = time.monotonic() + 20
    while (seen := {board.serial: board for board in attached_boards()})[boards[2].serial].usable:
        assert time.monotonic() < deadline
    assert seen[boards[0].serial] == Attached(boards[0].serial, "device", "Bench_Board")
    assert seen[boards[1].serial] == Attached(boards[1].serial, "unauthorized", "")
    assert seen[boards[2].serial].state == "offline"


@pytest.mark.parametrize(
    ("serial", "state", "words"),
    [
        ("R58M40", "no permissions (user in plugdev group; are your udev rules wrong?)", "platform-tools-common"),
        ("R58M40", "offline", "Unplug it"),
        ("10.0.0.7:5555", "offline", "adb disconnect 10.0.0.7:5555; adb connect 10.0.0.7:5555"),
        ("R58M40", "recovery", "Unplug it"),
    ],
)
def test_a_state_in_which_nothing_runs_comes_with_what_to_do(serial: str, state: str, words: str) -> None:
    error = out_of_reach(serial, state)
    assert serial in error.cause
    assert words in error.remedy


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("adb://0123456789ABCDEF", ("0123456789ABCDEF", "python3")),
        ("adb://192.168.1.7:5555?python=/opt/venv/bin/python", ("192.168.1.7:5555", "/opt/venv/bin/python")),
        ("adb://[fe80::1]:5555", ("[fe80::1]:5555", "python3")),
        ("adb://adb-1A2B._adb-tls-connect._tcp", ("adb-1A2B._adb-tls-connect._tcp", "python3")),
    ],
)
def test_a_uri_names_a_serial_number_and_a_python(uri: str, parts: tuple[str, str]) -> None:
    assert parse_uri(uri) == parts


@pytest.mark.parametrize(
    "rest", ["", "-s", "a b", "a?python=", "a?pyton=x", "a?python=x&python=y", "a/b", "a;b", "user@a"]
)
def test_any_other_uri_is_refused_before_anything_is_reached(rest: str) -> None:
    with pytest.raises(UsageError, match="adb://SERIAL"):
        open_device(f"adb://{rest}")
