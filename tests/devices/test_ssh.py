"""Boards by SSH, on a real sshd: what goes there and comes back, and a clear error for each way to fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core import events
from edgekit.core.errors import (
    DeviceError,
    EdgekitError,
    IntegrityError,
    InvalidInputError,
    MissingToolError,
    UsageError,
)
from edgekit.core.evidence import EvidenceKind
from edgekit.core.process import Limits
from edgekit.devices import remote, ssh
from edgekit.devices.base import Device
from edgekit.devices.bench import measure
from edgekit.devices.opening import open_device
from tests.devices.sshd import Board, client, running_board

MODEL = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"
SHORT: dict[str, Any] = {"runtime": "onnxruntime", "timing": False}
LONG: dict[str, Any] = {"runtime": "onnxruntime", "runs": 10**7, "max_seconds": 600.0}


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with running_board(tmp_path_factory.mktemp("board")) as board:
        yield board


@pytest.fixture
def board(sshd: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A sound board that this machine knows; afterwards nothing is left on it."""
    (tmp_path / "client").mkdir()
    monkeypatch.setenv("PATH", f"{client([sshd], tmp_path / 'client')}:{os.environ['PATH']}")
    monkeypatch.setattr(remote, "_PAUSES", (0.1, 0.2))
    sshd.reset()
    yield sshd
    sshd.start()
    assert sshd.left() == []
    assert sshd.still_running() == []


@pytest.fixture
def device(board: Board) -> Iterator[Device]:
    device = open_device(board.uri)
    yield device
    device.close()


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    with np.load(MODEL.parent / "eval.npz") as data:
        np.savez(tmp_path / "x.npz", x=data["x"][:40])
    return tmp_path / "x.npz"


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What the listener was told."""
    texts: list[str] = []
    with events.listening(lambda event: texts.append(event.text)):
        yield texts


def fails(device: Device, kind: type[EdgekitError], code: int, *, with_remedy: str, cause: str, **request: Any) -> None:
    """The device refuses, with this error."""
    with pytest.raises(kind, match=cause) as caught:
        measure(MODEL, device=device, **{**SHORT, **request})
    assert type(caught.value) is kind
    assert caught.value.exit_code == code
    assert with_remedy in caught.value.remedy


# ------------------------------------------------------------------------------------------------ a sound board


def test_its_answers_are_those_of_this_machine_and_it_keeps_what_it_has(
    board: Board, device: Device, samples: Path, tmp_path: Path, heard: list[str]
) -> None:
    def run(where: str, on: Device) -> Any:
        files: Any = {"outputs": tmp_path / f"{where}.npz", "golden_outputs": tmp_path / where}
        return measure(
            MODEL, device=on, against=[(MODEL, ())], inputs=samples, golden=samples, repeats=1, runs=5,
            runtime="onnxruntime", **files,
        )  # fmt: skip

    here, _ = run("here", open_device("local"))
    there, answer = run("there", device)
    assert there[0].kind is EvidenceKind.MEASURED
    assert there[0].where == here[0].where
    assert there[0].ratio is not None
    assert answer["artifacts"][0]["path"] == str(MODEL)
    for name in (".npz", "/0.npz", "/1.npz"):
        with np.load(f"{tmp_path}/here{name}") as ours, np.load(f"{tmp_path}/there{name}") as theirs:
            assert ours.files == theirs.files
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours.files)
    assert "timing" in heard
    assert sum("copying" in text for text in heard) == 2
    heard.clear()
    run("again", device)
    assert not any("copying" in text for text in heard)
    device.close()
    assert board.left() == []
    assert board.logins() == 1


def test_an_artifact_of_two_files_arrives_whole(device: Device, tmp_path: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(MODEL), tmp_path / "model.xml")
    (measurement,), _ = measure(
        tmp_path / "model.xml", device=device, options=(("INFERENCE_PRECISION_HINT", "f32"),), timing=False
    )
    assert measurement.runtime.startswith("openvino ")


def test_a_probe_says_what_it_has(board: Board, device: Device) -> None:
    answer = device.probe()
    assert {"onnxruntime", "openvino"} <= {each["name"] for each in answer["runtimes"] if each["error"] is None}
    assert answer["temp"]["folder"] == str(board.tmp)


def test_the_python_that_the_uri_names_is_found_in_the_boards_home(board: Board) -> None:
    folder = board.folder / "home" / "an env"
    folder.mkdir()
    (board.folder / "bin" / "python3").rename(folder / "python")
    with contextlib.closing(open_device(f"{board.uri}?python=~/an%20env/python")) as named:
        measure(MODEL, device=named, **SHORT)
    shutil.rmtree(folder)


@pytest.mark.parametrize("greeting", ["echo Welcome to the board!", "printf 'last login: today '"])
def test_a_login_that_prints_disturbs_nothing(
    board: Board, device: Device, samples: Path, tmp_path: Path, greeting: str
) -> None:
    (board.folder / "home" / ".bashrc").write_text(greeting)
    said = subprocess.run([*board.by_hand.split(), "true"], stdout=subprocess.PIPE, text=True, check=True)
    assert said.stdout.strip()
    measure(MODEL, device=device, inputs=samples, outputs=tmp_path / "y.npz", **SHORT)
    with np.load(tmp_path / "y.npz") as answers:
        assert answers[answers.files[0]].shape == (40, 10)
    device.close()
    (board.folder / "home" / ".bashrc").unlink()


def test_a_wrong_clock_is_told_and_changes_nothing(board: Board, device: Device, heard: list[str]) -> None:
    (library,) = board.tools.glob("usr/lib/*/faketime/libfaketime.so.1")
    board.setting(f"export LD_PRELOAD={library} FAKETIME=-400d FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1\n")
    (measurement,), _ = measure(MODEL, device=device, runtime="onnxruntime", repeats=1, runs=5)
    assert measurement.timing is not None
    assert f"the clock of {board.name} is 400 days slow; nothing here depends on it" in heard


def test_without_a_shared_connection_it_works_too(
    board: Board, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_place_for_socket", lambda: None)
    measure(MODEL, device=device, **SHORT)
    assert board.logins() > 2


def test_one_run_at_a_time_has_the_board_and_the_next_says_that_it_waits(
    board: Board, device: Device, heard: list[str]
) -> None:
    measure(MODEL, device=device, **SHORT)
    waiting = f"{board.name} is in use by another run; waiting for it"
    _when(lambda: waiting in heard, device.close)
    with contextlib.closing(open_device(board.uri)) as second:
        measure(MODEL, device=second, **SHORT)
    assert waiting in heard


# ------------------------------------------------------------------------------------------------ no way to it


@pytest.mark.parametrize(
    "uri",
    [
        "ssh://", "ssh://-oProxyCommand=touch x", "ssh://pi@-v", "ssh://pi@host:0", "ssh://pi@host:99999",
        "ssh://pi@host:", "ssh://pi:secret@host", "ssh://pi@host/folder", "ssh://pi@host?shell=sh", "ssh://pi@host?python=",
        "ssh://pi@host?python=-c", "ssh://pi@host?python=a;b", "ssh://pi@host?python=$(x)", "ssh://a b@host",
        "ssh://pi@host?python=a&python=b", "ssh://pi@ho\nst",
    ],
)  # fmt: skip
def test_a_uri_of_another_form_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="is not of the form ssh://user@host"):
        open_device(uri)


@pytest.mark.parametrize(
    "uri", ["ssh://bench-3", "ssh://pi@10.0.0.7:2222/", "ssh://pi@[fe80::1%eth0]:22?python=~/edgekit/bin/python"]
)
def test_a_uri_of_the_form_is_taken(uri: str) -> None:
    assert open_device(uri).uri == uri


def test_a_host_that_nobody_knows(board: Board) -> None:
    nowhere = open_device("ssh://pi@no-such-board.invalid")
    fails(
        nowhere,
        DeviceError,
        6,
        cause="no-such-board.invalid is no host that this machine knows",
        with_remedy="~/.ssh/config",
    )


def test_a_port_where_nobody_listens(board: Board) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = open_device(f"ssh://pi@127.0.0.1:{taken.getsockname()[1]}")
        fails(closed, DeviceError, 6, cause="refused the connection", with_remedy="systemctl enable --now ssh")


def test_a_host_that_does_not_answer(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ssh._OPTIONS, "ConnectTimeout", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        device = open_device(f"ssh://pi@127.0.0.1:{silent.getsockname()[1]}")
        fails(device, DeviceError, 6, cause="doesn't answer: .*timed out", with_remedy="ping 127.0.0.1")


def test_a_key_that_the_board_refuses(board: Board, device: Device) -> None:
    key = board.folder / "user_key.pub"
    text = key.read_text()
    key.write_text((board.folder / "host_key.pub").read_text())
    try:
        fails(
            device,
            DeviceError,
            6,
            cause="refused every key",
            with_remedy=board.by_hand.replace("ssh", "Give it yours: ssh-copy-id"),
        )
    finally:
        key.write_text(text)


def test_a_host_key_that_changed(board: Board, device: Device) -> None:
    other = (board.folder / "user_key.pub").read_text()
    (board.folder / "known_hosts").write_text(f"[127.0.0.1]:{board.port} {other}")
    remedy = f"ssh-keygen -R '[127.0.0.1]:{board.port}'"
    fails(device, DeviceError, 6, cause="shows another host key than the last time", with_remedy=remedy)


def test_a_host_key_that_is_unknown(board: Board, device: Device) -> None:
    (board.folder / "known_hosts").write_text("")
    remedy = f"accept it: {board.by_hand}"
    fails(device, DeviceError, 6, cause="shows a host key that this machine doesn't know yet", with_remedy=remedy)


def test_without_ssh_on_this_machine(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        fails(device, MissingToolError, 10, cause="no program ssh on this machine", with_remedy="openssh-client")


# ------------------------------------------------------------------------------------------------ what it lacks


def test_no_python(board: Board, device: Device) -> None:
    board.setting(f"PATH={board.folder}/bin")
    (board.folder / "bin" / "python3").unlink()
    for name in ("bash", "env", "cat"):
        (board.folder / "bin" / name).symlink_to(f"/usr/bin/{name}")
    fails(device, MissingToolError, 10, cause="has no python3", with_remedy=f"{board.uri}?python=/path/to/python3")


def test_a_python_that_is_too_old(board: Board, device: Device) -> None:
    (board.folder / "bin" / "sitecustomize.py").write_text(
        "import sys\nsys.version_info, sys.version = (3, 7, 9), '3.7.9 (old)'\n"
    )
    board.setting(f"export PYTHONPATH={board.folder}/bin")
    fails(
        device,
        MissingToolError,
        10,
        cause="is Python 3.7.9, and 3.8 is the oldest",
        with_remedy="Install Python 3.8 or newer",
    )


def test_a_python_that_does_not_start(board: Board, device: Device) -> None:
    board.program("python3", "#!/bin/sh\necho libpython is broken >&2\nexit 3\n")
    fails(device, DeviceError, 6, cause="ended with exit code 3, and said: libpython is broken", with_remedy="Check")


def _environment(board: Board, *packages: str) -> Path:
    """Give the board's Python an environment of its own with only these; the folder of its packages."""
    folder = board.folder / "bin" / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in packages:
        (site / name).symlink_to(Path(sysconfig.get_path("purelib")) / name)
    board.program("python3", f'#!/bin/sh\nexec {folder}/bin/python "$@"\n')
    return site


def test_no_numpy(board: Board, device: Device) -> None:
    _environment(board, "onnxruntime")
    remedy = "~/edgekit/bin/pip install onnxruntime numpy"
    fails(device, MissingToolError, 10, cause="numpy is not installed", with_remedy=remedy)


def test_no_runtime(board: Board, device: Device) -> None:
    _environment(board, "numpy", "numpy.libs")
    line = f"{board.by_hand} 'python3 -m venv ~/edgekit && ~/edgekit/bin/pip install onnxruntime numpy'"
    remedy = f"Run: {line}  and name its Python: {board.uri}?python=~/edgekit/bin/python"
    fails(device, MissingToolError, 10, cause="no runtime for .*digits-cnn.onnx on this device", with_remedy=remedy)


def test_no_wheel_of_the_runtime_for_its_python(board: Board, device: Device) -> None:
    site = _environment(board, "numpy", "numpy.libs")
    other = "import platform\nplatform.machine = lambda: 'armv7l'\nplatform.python_version = lambda: '3.13.1'\n"
    (site / "sitecustomize.py").write_text(other)
    remedy = "No wheel is published for Python 3.13.1 on armv7l. There is onnxruntime (Python 3.8 to 3.14, aarch64"
    fails(device, MissingToolError, 10, cause="no runtime", with_remedy=remedy)


def test_no_folder_that_can_be_written(board: Board, device: Device) -> None:
    (board.folder / "bin" / "sitecustomize.py").write_text(
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/proc']\n"
    )
    board.setting(f"export PYTHONPATH={board.folder}/bin")
    fails(device, DeviceError, 6, cause="no folder for temporary files can be written", with_remedy="TMPDIR")


# ------------------------------------------------------------------------------------------------ half-way


def test_a_disk_too_small_for_the_artifact(board: Board, device: Device) -> None:
    if not board.small.is_mount():
        pytest.skip("not on this machine: a small disk can be mounted by root only")
    board.setting(f"export TMPDIR={board.small}")
    cause = r"has no room for digits-cnn.onnx \(0.4 MB\): 0.[123] MB free"
    fails(device, DeviceError, 6, cause=cause, with_remedy=f"df -h {board.small}")
    device.close()
    assert list(board.small.iterdir()) == []


def test_a_disk_that_fills_while_a_file_is_copied(board: Board, device: Device) -> None:
    board.setting("ulimit -f 64; trap '' XFSZ", "cat > ")
    cause = r"has no room for digits-cnn.onnx \(0.4 MB\): \d+.\d MB free in .* \(cat: .*File too large\)"
    fails(device, DeviceError, 6, cause=cause, with_remedy=f"df -h {board.tmp}")


def test_a_disk_that_fills_with_the_answers(board: Board, device: Device, tmp_path: Path) -> None:
    board.setting("ulimit -f 800")  # blocks of 512 bytes: enough for the artifact's 389 kB, and the answers have 440
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((11_000, 8, 8, 1), np.float32))
    files = {"inputs": tmp_path / "x.npz", "outputs": tmp_path / "y.npz"}
    cause = f"{board.name}: the answers can't be written: File too large"
    fails(device, DeviceError, 6, cause=cause, with_remedy="Free some space", **files)


def test_an_artifact_that_arrives_altered(board: Board, device: Device) -> None:
    board.setting('command="tr A B | $command"', "cat > ")
    cause = f"digits-cnn.onnx arrives on {board.name} altered, twice"
    fails(device, IntegrityError, 8, cause=cause, with_remedy="Check the board's memory card")


def test_an_artifact_that_arrives_altered_once_is_copied_again(board: Board, device: Device) -> None:
    once = board.folder / "bin" / "altered"
    board.setting(f'test -e {once} || {{ touch {once}; command="tr A B | $command"; }}', "cat > ")
    measure(MODEL, device=device, **SHORT)
    assert once.exists()


def test_answers_that_arrive_altered(board: Board, device: Device, samples: Path, tmp_path: Path) -> None:
    board.setting(r"""command="{ $command; } | tr '\001' '\002'" """, "exec cat ")
    files = {"inputs": samples, "outputs": tmp_path / "y.npz"}
    fails(device, IntegrityError, 8, cause="y.npz arrives from .* altered, twice", with_remedy="Check", **files)
    assert not files["outputs"].exists()


def test_sshd_killed_half_way(board: Board, device: Device, heard: list[str]) -> None:
    _when(lambda: "timing" in heard, board.kill)
    fails(device, DeviceError, 6, cause="refused the connection", with_remedy="systemctl", **LONG, timing=True)
    assert any("broke off" in text or "is gone" in text for text in heard)
    assert sum("trying again" in text for text in heard) == 2


def test_a_connection_that_breaks_once_is_made_again(board: Board, device: Device, heard: list[str]) -> None:
    _when(lambda: "timing" in heard, board.cut)
    request: Any = {"runtime": "onnxruntime", "repeats": 1, "runs": 2000, "max_seconds": 3.0}
    (measurement,), _ = measure(MODEL, device=device, **request)
    assert measurement.timing is not None
    assert sum("trying again" in text for text in heard) == 1
    assert sum("copying" in text for text in heard) == 2  # the board's folder was a new one


def test_a_keeper_that_is_killed_is_replaced(board: Board, device: Device) -> None:
    measure(MODEL, device=device, **SHORT)
    (keeper,) = board.processes("--keep")
    os.kill(keeper, signal.SIGKILL)
    measure(MODEL, device=device, **SHORT)


def test_a_run_that_is_killed_there(board: Board, device: Device, heard: list[str]) -> None:
    def kill() -> None:
        (run,) = board.tmp.glob("edgekit-*/run-*")
        os.kill(int(run.read_text()), signal.SIGKILL)

    _when(lambda: "timing" in heard, kill)
    with pytest.raises(InvalidInputError, match=rf"running digits-cnn.onnx on {board.name} crashed with SIGKILL"):
        measure(MODEL, device=device, **LONG)


def test_a_run_that_takes_too_long_is_ended_there(board: Board, device: Device) -> None:
    with pytest.raises(InvalidInputError, match=f"on {board.name} took longer than 3 s"):
        measure(MODEL, device=device, limits=Limits(seconds=3), **LONG)
    assert board.left() == []
    assert board.still_running() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_edgekit_ended_half_way(board: Board, number: signal.Signals) -> None:
    program = f"""
from pathlib import Path
from edgekit.core import events
from edgekit.devices.bench import measure
from edgekit.devices.opening import open_device
device = open_device({board.uri!r})
try:
    with events.listening(lambda event: print(event.text, flush=True)):
        measure(Path({str(MODEL)!r}), device=device, runtime="onnxruntime", runs=10**7, max_seconds=600)
finally:
    device.close()
"""
    with tempfile.TemporaryDirectory() as sockets, subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_RUNTIME_DIR": sockets},
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert any("timing" in line for line in process.stdout)
        assert [path.is_socket() for path in Path(sockets).glob("*/*")] == [True]
        process.send_signal(number)
        process.stdout.read()
        assert board.left() == []
        assert board.still_running() == []
        assert list(Path(sockets).glob("*/*")) == []


def _when(condition: Callable[[], bool], act: Callable[[], None]) -> None:
    """Act beside the test, as soon as the condition holds."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        act()

    threading.Thread(target=watch, daemon=True).start()
