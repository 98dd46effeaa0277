"""A board for tests: a real sshd on loopback, with host keys, a home, a PATH and a temporary folder of its own.

Every session runs through a wrapper (ForceCommand), which is where the board's faults are: `Board.setting` is shell
code in front of each command. The wrapper runs bash as sshd would, so the board's .bashrc counts.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
ForceCommand {folder}/session
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserEnvironment no
StrictModes no
UsePAM no
MaxStartups 50
"""
_SESSION = """#!/bin/sh
export HOME={folder}/home TMPDIR={folder}/tmp PATH={folder}/bin:/usr/bin:/bin SHLVL=0
unset XDG_RUNTIME_DIR
command=$SSH_ORIGINAL_COMMAND
. {folder}/setting
exec bash -c "$command"
"""
_CLIENT_CONFIG = """
Host *
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
    IdentityAgent none
"""


@dataclass
class Board:
    """A board behind SSH.

    Attributes:
        folder: where everything of it lies.
        port: where its sshd listens.
        tools: what scripts/test-tools unpacked.
    """

    folder: Path
    port: int
    tools: Path
    _sshd: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def by_hand(self) -> str:
        """How people log in."""
        return f"ssh -p {self.port} {getpass.getuser()}@127.0.0.1"

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def small(self) -> Path:
        """A disk of 256 KiB, where one could be mounted: by root."""
        return self.folder / "small"

    def setting(self, code: str, words: str = "") -> None:
        """From now on, run shell code in front of every command that contains these words; $command is the command."""
        (self.folder / "setting").write_text(f'case "$command" in *{shlex.quote(words)}*)\n{code}\n;; esac\n')

    def left(self) -> list[str]:
        """What lies in its temporary folder and in its home, after a moment for what is about to go."""
        until = time.monotonic() + 10
        while True:
            found = sorted(path.name for place in ("tmp", "home") for path in (self.folder / place).iterdir())
            if not found or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def program(self, name: str, text: str) -> None:
        """A program of the board."""
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def reset(self) -> None:
        """The board as it was at first: this Python with its packages, nothing wrong."""
        for place in ("bin", "home", "tmp"):
            shutil.rmtree(self.folder / place, ignore_errors=True)
            (self.folder / place).mkdir()
        self.setting(":")
        self.program("python3", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (self.folder / "sshd.log").write_text("")
        self.trust()
        self.start()

    def trust(self) -> None:
        """Let this machine know the board's host key."""
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def start(self) -> None:
        """Start sshd, if it is not running."""
        if self._sshd and self._sshd.poll() is None:
            return
        libraries = os.pathsep.join(map(str, self.tools.glob("usr/lib/*-linux-gnu")))
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self._sshd = subprocess.Popen(
                [
                    *_as_sshd_wants_it(self.folder),
                    self.tools / "usr/sbin/sshd",
                    "-D",
                    "-e",
                    "-f",
                    self.folder / "config",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LD_LIBRARY_PATH": libraries},
                start_new_session=True,
            )
        until = time.monotonic() + 10
        while not _listens(self.port):
            if self._sshd.poll() is not None or time.monotonic() > until:
                raise AssertionError((self.folder / "sshd.log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill sshd and every session process of it, but nothing that the sessions run."""
        if self._sshd and self._sshd.poll() is None:
            self._kill(self._sshds())
            self._sshd.wait()

    def cut(self) -> None:
        """Kill every session process of sshd, as a network that breaks for a moment ends its connections."""
        assert self._sshd
        self._kill(pid for pid in self._sshds() if pid != self._sshd.pid)

    def logins(self) -> int:
        """How many connections there were since the last reset."""
        return (self.folder / "sshd.log").read_text().count("Accepted publickey")

    def processes(self, word: str = "") -> list[int]:
        """What the sessions run, and the clients of it; only those with this word on their command line."""
        session, client = f"TMPDIR={self.tmp}\0", f"\0-p\0{self.port}\0--\0"
        return [
            pid
            for pid in _pids()
            if (session in _about(pid, "environ") or client in _about(pid, "cmdline"))
            and (not word or f"\0{word}\0" in _about(pid, "cmdline"))
        ]

    def still_running(self) -> list[int]:
        """`processes`, after a moment for what is about to end."""
        until = time.monotonic() + 10
        while True:
            found = self.processes()
            if not found or time.monotonic() > until:
                return found
            time.sleep(0.05)

    def _sshds(self) -> list[int]:
        assert self._sshd
        return [pid for pid in _descendants(self._sshd.pid) if _about(pid, "comm") == "sshd\n"]

    def _kill(self, pids: Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def running_board(folder: Path) -> Iterator[Board]:
    """A board in `folder`; the test is skipped where there can be none."""
    board = Board(folder, _free_port(), tools())
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "config").write_text(_CONFIG.format(folder=folder, port=board.port))
    (folder / "client_config").write_text(_CLIENT_CONFIG.format(folder=folder))
    (folder / "session").write_text(_SESSION.format(folder=folder))
    (folder / "session").chmod(0o755)
    board.small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(board.small)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        board.reset()
        yield board
    finally:
        board.kill()
        if mounted:
            subprocess.run(["umount", "--lazy", board.small], check=True)


def client(boards: list[Board], folder: Path) -> Path:
    """A folder for the front of PATH in which `ssh` is the system's own, with the keys of these boards.

    OpenSSH takes the home folder from the list of users and not from $HOME, so there is no other way to give it a
    configuration that is not the user's.
    """
    config = "".join(
        f'Match originalhost 127.0.0.1 exec "test %p = {board.port}"\n{(board.folder / "client_config").read_text()}'
        for board in boards
    ).replace("Host *\n", "")
    (folder / "ssh_config").write_text(config)
    real = shutil.which("ssh")
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {real} -F {folder}/ssh_config "$@"\n')
    (folder / "ssh").chmod(0o755)
    return folder


def tools() -> Path:
    made = subprocess.run([ROOT / "scripts/test-tools"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.fail(f"scripts/test-tools: {made.stderr.strip()}")
    return Path(made.stdout.strip())


def _as_sshd_wants_it(folder: Path) -> list[str]:
    """As root it wants a user sshd and /run/sshd, which a machine without the package lacks: a namespace has both."""
    if os.geteuid() != 0:
        return []
    users = Path("/etc/passwd").read_text()
    if "\nsshd:" not in users:
        users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    (folder / "passwd").write_text(users)
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("not on this machine: sshd as root needs a mount namespace")
    line = 'mount --bind "$1" /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", line, "sh", str(folder / "passwd")]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _about(pid: int, file: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _descendants(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
    return found
