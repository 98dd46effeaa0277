"""Boards with Android's debug bridge, through the system's adb client: adb://SERIAL or adb://HOST:PORT, [?python=PATH].

Android itself brings no Python; a rooted one can run Termux's, and Linux boards with an adbd have their own.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.core.errors import DeviceError, MissingToolError, UsageError
from edgekit.core.process import Finished, Limits, run_limited
from edgekit.devices.remote import RemoteDevice
from edgekit.devices.transport import Fault

__all__ = ["AdbTransport", "Attached", "attached_boards", "open_adb", "out_of_reach", "parse_uri"]

_SERIAL = r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]*"
_TERMUX_PYTHON = "/data/data/com.termux/files/usr/bin/python3"
_ANSWERS_WITHIN = Limits(seconds=30.0)  # adb itself gives a connection up after ten
_USABLE = "device"
_BROKEN_OFF = {0, 255}  # the client's exit code when a board goes while a command runs there: before adb 30, and since

# A state of a board, in adb's words → what it means, and what to do where the board is on USB, and on the network.
_ALLOW = "Unlock its screen and allow USB debugging for this computer there; then run the same command again."
_USB_RULES = (
    "this user may not open the USB device of {0}",
    "Run: sudo apt install android-sdk-platform-tools-common  and plug the board in again.",
    "",
)
_TROUBLES = {
    "unauthorized": ("{0} has not allowed this computer to debug it", _ALLOW, _ALLOW),
    "authorizing": ("{0} has not yet allowed this computer to debug it", _ALLOW, _ALLOW),
    "offline": (
        "{0} is offline: adb knows it, and it does not answer",
        "Unplug it and plug it in again; if that does not help: adb kill-server",
        "Check that it is on, then run: adb disconnect {0}; adb connect {0}",
    ),
    "not found": (
        "adb sees no board {0}",
        "Plug it in, and switch USB debugging on in its developer options. What is there: adb devices -l",
        "Check that it is on and listens (over USB: adb tcpip 5555), then run: adb connect {0}",
    ),
    "no permissions": _USB_RULES,  # in the list; and as an error:
    "insufficient permissions": _USB_RULES,
}


@dataclass(frozen=True)
class Attached:
    """A line of `adb devices -l`.

    Attributes:
        serial: the board's serial number, or HOST:PORT.
        state: "device" where it can be used; else "offline", "unauthorized", "no permissions …".
        model: as it calls itself, or "".
    """

    serial: str
    state: str
    model: str

    @property
    def usable(self) -> bool:
        """Whether commands reach it."""
        return self.state == _USABLE


def attached_boards() -> tuple[Attached, ...]:
    """The boards that adb sees. Like every command of adb, this starts its server if none runs.

    Raises:
        MissingToolError: this machine has no adb.
        DeviceError: adb doesn't work here.
    """
    finished, said = _ask("devices", "-l")
    if finished.returncode != 0:
        raise _broken_client(finished.stderr)
    # A serial number has no blanks, a state may have some; key:value pairs come last.
    found = (re.fullmatch(r"(\S+)\s+(.+?)((?:\s+\w+:\S+)*)\s*", line) for line in said.splitlines()[1:])
    return tuple(
        Attached(match[1], match[2], next(iter(re.findall(r"\smodel:(\S+)", match[3])), "")) for match in found if match
    )


def open_adb(uri: str) -> RemoteDevice:
    """The device of an adb:// URI.

    Raises:
        UsageError: it has not that form.
    """
    return RemoteDevice(AdbTransport(uri))


def parse_uri(uri: str) -> tuple[str, str]:
    """The serial number and the Python that an adb:// URI names.

    Raises:
        UsageError: it has not that form.
    """
    match = re.fullmatch(rf"adb://({_SERIAL})(?:\?python=([^?&\s]+))?", uri)
    if not match:
        raise UsageError(
            f"{uri!r} is not of the form adb://SERIAL or adb://HOST:PORT, with ?python=PATH behind it where needed",
            blame="the command line",
            remedy="See the serial numbers with: adb devices",
        )
    return match[1], match[2] or "python3"


class AdbTransport:
    """A way to a board through `adb`; as `Transport`."""

    def __init__(self, uri: str) -> None:
        """Nothing is reached yet.

        Raises:
            UsageError: as `parse_uri`.
        """
        self.uri = uri
        self.board, python = parse_uri(uri)
        self.python = shlex.quote(python)
        self._reached = False

    def hold(self, line: str) -> Sequence[str]:
        """As `Transport.hold`; a board of the network is connected first, where adb doesn't have it."""
        state, _ = self._state()
        if ":" in self.board and state != _USABLE:
            _ask("disconnect", self.board)
            _ask("connect", self.board)
            state, _ = self._state()
        self._reached = state == _USABLE
        return self.command(line)

    def command(self, line: str) -> Sequence[str]:
        """As `Transport.command`."""
        # Android has no /tmp, and a shell without a terminal leaves what comes through as it is.
        place = "export TMPDIR=${TMPDIR:-$(test -d /data/local/tmp && echo /data/local/tmp || echo /tmp)}"
        return [_client(), "-s", self.board, "shell", "-T", f"{place}; {line}"]

    def push(self, local: Path, remote: str, limits: Limits) -> Finished:
        """As `Transport.push`."""
        return _ask("-s", self.board, "push", str(local), remote, limits=limits)[0]

    def pull(self, remote: str, local: Path, limits: Limits) -> Finished:
        """As `Transport.pull`."""
        return _ask("-s", self.board, "pull", remote, str(local), limits=limits)[0]

    def fault(self, finished: Finished) -> Fault | None:
        """As `Transport.fault`."""
        said = finished.stderr
        if "cannot connect to daemon" in said or "failed to start daemon" in said:
            return Fault(_broken_client(said), lost=False)
        if "only supports allocating a pty" in said:
            cause = f"{self.board} runs an Android before 7, whose shell neither gives exit codes nor takes data"
            remedy = "Use a board with Android 7 or newer."
            return Fault(DeviceError(cause, blame=self.board, remedy=remedy), lost=False)
        state, reason = self._state()
        if state != _USABLE:
            return Fault(out_of_reach(self.board, state, reason), lost=self._reached)
        if finished.returncode in _BROKEN_OFF:
            cause = f"the connection to {self.board} broke off"
            remedy = "Check its cable or network, and run the same command again."
            return Fault(DeviceError(cause, blame=self.board, remedy=remedy), lost=True)
        return None

    def install(self, package: str) -> str:
        """As `Transport.install`."""
        return (
            f"Run: adb -s {self.board} shell {self.python} -m pip install {package}"
            "  or, where that Python is Termux's, there: pkg install python-numpy python-onnxruntime"
        )

    def install_python(self) -> str:
        """As `Transport.install_python`."""
        return (
            "Name one that is there: adb://SERIAL?python=PATH. Android brings none: install Termux, in it run"
            f" `pkg install python python-numpy python-onnxruntime`, and with root (adb -s {self.board} root) use"
            f" adb://{self.board}?python={_TERMUX_PYTHON}; without root run Termux's sshd and use ssh://HOST:8022"
        )

    def close(self) -> None:
        """As `Transport.close`; adb's server is the user's, and goes on."""

    def _state(self) -> tuple[str, str]:
        """The board's state in adb's words, and what adb says of it where that is not "device"."""
        finished, said = _ask("-s", self.board, "get-state")
        reason = finished.stderr.strip()
        if finished.returncode == 0:
            return said.strip(), reason
        return next((state for state in _TROUBLES if state in reason), "unknown"), reason


def out_of_reach(serial: str, state: str, reason: str = "") -> DeviceError:
    """The error for a board in a state in which no command reaches it.

    Args:
        serial: its serial number, or HOST:PORT.
        state: as adb has it.
        reason: more of what adb says.
    """
    known = next((each for each in _TROUBLES if state.startswith(each)), None)
    cause, plug, connect = _TROUBLES[known or "offline"]
    if known is None:
        cause = f"adb can not use {{0}}: {reason or state}"
    named = (text.replace("{0}", serial) for text in (cause, connect if ":" in serial and connect else plug))
    return DeviceError(next(named), blame=serial, remedy=next(named))


def _client() -> str:
    found = shutil.which("adb")
    if found is None:
        raise MissingToolError("this machine has no adb", blame="this machine", remedy="Run: sudo apt install adb")
    return found


def _ask(*arguments: str, limits: Limits = _ANSWERS_WITHIN) -> tuple[Finished, str]:
    """Run the adb client; what it says of failed copies it says on stdout, which `stderr` therefore has as well."""
    lines: list[str] = []
    finished = run_limited([_client(), *arguments], limits=limits, on_line=lines.append)
    said = "".join(lines)
    return replace(finished, stderr=finished.stderr + (said if finished.returncode else "")), said


def _broken_client(said: str) -> DeviceError:
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing")
    return DeviceError(
        f"adb doesn't work here: {last}", blame="this machine's adb", remedy="Run: adb kill-server; adb devices"
    )
