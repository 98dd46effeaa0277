"""Boards by SSH, through the system's own client: its configuration, keys, agent and jump hosts count here as by hand.

Files travel through ssh as well, and not by scp: what writes them there then says why it can't (scp knows only
"Failure"), a login that prints something disturbs nothing, and a board without an SFTP server will do.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from edgekit.core.errors import DeviceError, MissingToolError, UsageError
from edgekit.core.process import Finished, Limits, run_limited
from edgekit.devices.remote import RemoteDevice
from edgekit.devices.transport import Fault

__all__ = ["SshTransport", "open_ssh"]

_FORM = "ssh://user@host[:port][?python=/path/there]"
# As strict as names are: nothing that ssh or a shell could take for something else.
_URI = re.compile(
    r"ssh://(?:(?P<user>[\w][\w.-]*)@)?(?P<host>\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[\w][\w.-]*)(?::(?P<port>\d{1,5}))?/?"
    r"(?:\?python=(?P<python>[^?&#]+))?",
    re.ASCII,
)
_PYTHON = re.compile(r"(?:~/|/)?[\w.][\w./+ -]*", re.ASCII)

# Only what a program needs that can't answer questions; all else is the user's configuration.
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
    "ClearAllForwardings": "yes",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "EscapeChar": "none",
}
_CLIENT_FAILED = 255  # or the program there ended so, which ours doesn't
_SHORT = "/tmp"  # noqa: S108 - a socket's path has 108 bytes; the folder in it is checked to be ours alone
_LONGEST_GREETING = 1 << 20
_MARK = b"edgekit-file\n"  # a login may print something in front of a file
_LOST = (
    "closed by remote host", "Broken pipe", "Connection reset", "not responding", "Connection closed",
    "Connection to", "mux_client", "Session open refused",
)  # fmt: skip


@dataclass(frozen=True)
class _Trouble:
    """A line that OpenSSH says, and what it means; {board}, {host}, {login} and {line} are filled in."""

    said: str
    cause: str
    remedy: str


_TROUBLES = (
    _Trouble(
        "Could not resolve hostname", "{host} is no host that this machine knows", "Check the name, or ~/.ssh/config."
    ),
    _Trouble(
        "Connection refused",
        "{host} refused the connection: no SSH server listens there",
        "Start it on the board (sudo systemctl enable --now ssh), or name its port: ssh://user@host:port.",
    ),
    _Trouble(
        "HOST IDENTIFICATION HAS CHANGED",
        "{host} shows another host key than the last time: it was set up anew, or this is not it",
        "If it was set up anew, forget the old key: ssh-keygen -R {known}; then accept the new one: {login}",
    ),
    _Trouble(
        "Host key verification failed",
        "{host} shows a host key that this machine doesn't know yet",
        "Log in once by hand, compare the fingerprint, and accept it: {login}",
    ),
    _Trouble(
        "Permission denied (",
        "{board} refused every key that this machine offered",
        "Give it yours: {copy}; if your key has a passphrase, unlock it first: ssh-add",
    ),
    _Trouble(
        "Too many authentication failures",
        "{board} refused the first keys that this machine offered, and would take no more",
        "Name the right key in ~/.ssh/config: IdentityFile and IdentitiesOnly yes.",
    ),
    *(
        _Trouble(said, "{host} doesn't answer: {line}", "Check that it is on and in this network: ping {host}")
        for said in ("timed out", "No route to host", "Network is unreachable", "Host is down")
    ),
)


def open_ssh(uri: str) -> RemoteDevice:
    """The device of an ssh:// URI.

    Raises:
        UsageError: it has not that form.
    """
    return RemoteDevice(SshTransport(uri))


class SshTransport:
    """A way to a board through `ssh`; as `Transport`."""

    def __init__(self, uri: str) -> None:
        """Take the URI apart.

        Raises:
            UsageError: it has not the form.
        """
        parts = _URI.fullmatch(uri)
        python = unquote(parts["python"] or "python3") if parts else ""
        if not parts or not _PYTHON.fullmatch(python) or not 0 < int(parts["port"] or 22) < 65536:
            raise UsageError(f"{uri!r} is not of the form {_FORM}", blame="the command line", remedy=f"Give {_FORM}.")
        self.uri = uri
        self._host = parts["host"].strip("[]")
        self._port = parts["port"]
        self._destination = f"{parts['user']}@{self._host}" if parts["user"] else self._host
        self.board = f"{self._destination}:{self._port}" if self._port else self._destination
        self._named_python = parts["python"] and python
        self.python = f"~/{shlex.quote(python[2:])}" if python.startswith("~/") else shlex.quote(python)
        self._socket: Path | None = None

    def hold(self, line: str) -> Sequence[str]:
        """As `Transport.hold`; the other commands go through this one's connection."""
        self.close()  # a connection that broke off may have left its socket
        self._socket = _place_for_socket()
        return self._ssh(line, sharing="yes")

    def command(self, line: str) -> Sequence[str]:
        """As `Transport.command`."""
        return self._ssh(line, sharing="no")

    def push(self, local: Path, remote: str, limits: Limits) -> Finished:
        """As `Transport.push`."""
        return run_limited(self.command(f"cat > {shlex.quote(remote)}"), limits=limits, stdin=local)

    def pull(self, remote: str, local: Path, limits: Limits) -> Finished:
        """As `Transport.pull`."""
        line = f"echo {_MARK.decode().strip()} && exec cat {shlex.quote(remote)}"
        raw = local.with_name(f"{local.name}.part")
        try:
            finished = run_limited(self.command(line), limits=limits, stdout=raw)
            with raw.open("rb") as source, local.open("wb") as target:
                source.seek(source.read(_LONGEST_GREETING).find(_MARK) + len(_MARK))
                shutil.copyfileobj(source, target)
        finally:
            raw.unlink(missing_ok=True)
        return finished

    def fault(self, finished: Finished) -> Fault | None:
        """As `Transport.fault`, from what OpenSSH's client says."""
        if finished.returncode != _CLIENT_FAILED and finished.returncode >= 0:
            return None
        said = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
        names = {
            "board": self.board,
            "host": self._host,
            "known": shlex.quote(f"[{self._host}]:{self._port}" if self._port else self._host),
            "login": self._by_hand("ssh", "-p"),
            "copy": self._by_hand("ssh-copy-id", "-p"),
        }
        for trouble in _TROUBLES:
            for line in said:
                if trouble.said in line:
                    filled = {**names, "line": line.removeprefix("ssh: ")}
                    error = DeviceError(
                        trouble.cause.format(**filled), blame=self.board, remedy=trouble.remedy.format(**filled)
                    )
                    return Fault(error, lost=False)
        broken = [line for line in said if any(words in line for words in _LOST)]
        lost = bool(broken) or not said
        told = (broken or said or ["without a word"])[-1]
        error = DeviceError(
            f"the connection to {self.board} {'broke off' if lost else 'failed'}: {told}",
            blame=f"{self.board}, or the network",
            remedy=f"Check the board's power and network. Then: {self._by_hand('ssh', '-p')}",
        )
        return Fault(error, lost=lost)

    def install(self, package: str) -> str:
        """As `Transport.install`: into an environment, since a system's own Python takes no packages from pip."""
        if self._named_python:
            return f"Run: {self._on_board(f'{self.python} -m pip install {package}')}"
        line = f"python3 -m venv ~/edgekit && ~/edgekit/bin/pip install {package}"
        return f"Run: {self._on_board(line)}  and name its Python: {self.uri.rstrip('/')}?python=~/edgekit/bin/python"

    def install_python(self) -> str:
        """As `Transport.install_python`."""
        return (
            f"Install Python 3.8 or newer there (sudo apt install python3 python3-venv), or name one that is there: "
            f"{self.uri.partition('?')[0].rstrip('/')}?python=/path/to/python3"
        )

    def close(self) -> None:
        """As `Transport.close`: the client that made the socket has removed it, unless it was killed."""
        if self._socket:
            self._socket.unlink(missing_ok=True)
            self._socket = None

    def _ssh(self, line: str, sharing: str) -> list[str]:
        shell = f"exec sh -c {shlex.quote(line)}"  # whatever shell the user has there
        program = shutil.which("ssh")
        if program is None:
            raise MissingToolError(
                "there is no program ssh on this machine",
                blame="this machine",
                remedy="Run: sudo apt install openssh-client",
            )
        options = dict(_OPTIONS)
        if self._socket:
            options |= {"ControlMaster": sharing, "ControlPath": str(self._socket), "ControlPersist": "no"}
        else:
            options |= {"ControlPath": "none"}
        arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return [program, *arguments, *(("-p", self._port) if self._port else ()), "--", self._destination, shell]

    def _by_hand(self, program: str, port_flag: str) -> str:
        """A command for people, with their own options."""
        return shlex.join([program, *((port_flag, self._port) if self._port else ()), self._destination])

    def _on_board(self, line: str) -> str:
        return f"{self._by_hand('ssh', '-p')} {shlex.quote(line)}"


def _place_for_socket() -> Path | None:
    """Where the client shall listen for those that share its connection; None where no socket can be.

    One folder a user, which stays: a folder for each run would stay behind when edgekit is killed.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for parent in (*([Path(runtime)] if runtime else []), Path(tempfile.gettempdir()), Path(_SHORT)):
        folder = parent / f"edgekit-ssh-{os.getuid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            about = folder.lstat()
            if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o077:
                continue
            path = folder / os.urandom(6).hex()
            with socket.socket(socket.AF_UNIX) as trial:
                trial.bind(f"{path}.{'x' * 16}")  # ssh makes it under a longer name first
            Path(f"{path}.{'x' * 16}").unlink()
            return path
    return None
