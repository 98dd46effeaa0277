"""A folder on a board, which is ours alone while it is there, and the board with it.

A keeper makes it: the bench script's --keep mode, at the far end of a connection that stays open. When that ends, by
whichever accident, the keeper ends what runs in the folder and removes it. The script itself reaches every command
through its stdin, so nothing of ours ever lies outside the folder.
"""

from __future__ import annotations

import contextlib
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.digest import digest_file
from edgekit.core.errors import DeviceError, EdgekitError, IntegrityError, MissingToolError
from edgekit.core.process import Finished, Limits, Running, repeatable_settings, run_limited
from edgekit.core.resources import resource
from edgekit.core.stopping import check_stopped
from edgekit.devices.answer import Inventory, Kept, parse_error, parse_inventory, parse_kept
from edgekit.devices.base import decode
from edgekit.devices.transport import Transport

__all__ = ["BoardFolder", "LostError", "altered"]

OLDEST_PYTHON = (3, 8)
_READY = "edgekit-ready "
_TOO_OLD = "edgekit: too old: "
_START_SECONDS = 120.0  # a board of the smallest kind takes ten to import numpy
_ASK_SECONDS = 120.0
_COPY_SECONDS = 30.0
_PULL_SECONDS = 600.0
_END_SECONDS = 15.0
_NEWS_SECONDS = 1.0
_BEAT_SECONDS = 10.0
_SLOWEST_BYTES_PER_SECOND = 50_000
_NO_ROOM = ("No space left", "Disk quota exceeded", "File too large", "Read-only file system")
_NOT_FOUND = 127
_NOT_RUN = 126

# Reads the script from stdin, as far as it goes: a keeper's stdin stays open behind it. Old Pythons must get this far.
_STARTER = (
    "import hashlib, sys; sys.version_info >= {oldest} or sys.exit({too_old!r} + sys.version.split()[0]); "
    "s = open(0, 'rb', closefd=False).read({size}); "
    "hashlib.sha256(s).hexdigest() == {digest!r} or sys.exit('the bench script arrived altered'); "
    "exec(compile(s, 'bench_on_device.py', 'exec'))"
)


class LostError(Exception):
    """The connection broke off, or the board's end of it did: worth another try.

    Attributes:
        error: for the user, if no try gets through.
    """

    def __init__(self, error: EdgekitError) -> None:
        super().__init__(error.cause)
        self.error = error


class BoardFolder:
    """A folder on a board, from the moment that the board is free until `end`.

    Attributes:
        path: where it is there.
        kept: what the keeper said of it and of the board.
    """

    def __init__(self, transport: Transport) -> None:
        """Wait for the board, and make the folder.

        Raises:
            DeviceError: there is no way to the board, or it has no place for the folder.
            MissingToolError: it has no Python, or one that is too old.
            LostError: the connection broke off.
        """
        self._transport = transport
        self._has: dict[str, str] = {}  # name → SHA-256
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._keeper = Running(
            transport.hold(_script_line(transport, ["--keep", "--json"])),
            stdin=subprocess.PIPE,
            on_line=self._said.put,
            death_signal=signal.SIGTERM,  # on which a client removes the socket that it listens on
        )
        try:
            threading.Thread(target=self._feed, daemon=True).start()
            self.kept = self._await_ready()
            self.path = self.kept.folder
            self._free = self.kept.temp.free_bytes
        except BaseException:
            self.end(seconds=0)  # what has begun there ends with the connection
            raise

    @property
    def stands(self) -> bool:
        """Whether the keeper, and so the folder, is still there."""
        return self._keeper.poll() is None

    def push(self, files: Mapping[str, tuple[Path, str]]) -> None:
        """Bring the files that the folder lacks.

        Args:
            files: name there → the file here, and its SHA-256.

        Raises:
            DeviceError: there is no room for them, or a copy takes too long.
            IntegrityError: one arrives altered, twice.
            LostError: the connection broke off.
        """
        lacking = {name: file for name, file in files.items() if self._has.get(name) != file[1]}
        for _ in range(2):
            if not lacking:
                return
            for done, (name, (local, _)) in enumerate(lacking.items()):
                events.progress(f"copying {local.name} to {self._transport.board}", done / len(lacking))
                self._copy(name, local)
            inventory = self._inventory()
            self._free, self._has = inventory.free_bytes, inventory.digests
            lacking = {name: file for name, file in lacking.items() if self._has.get(name) != file[1]}
        if lacking:
            local, digest = next(iter(lacking.values()))
            raise altered(f"{local.name} arrives on {self._transport.board}", digest, self._transport)

    def run(
        self,
        arguments: Sequence[str],
        *,
        threads: int = 1,
        limits: Limits,
        on_error_line: Callable[[str], None] | None = None,
    ) -> tuple[dict[str, Any] | None, Finished]:
        """Run the script in the folder.

        Returns:
            The document that it answered, or None, and how it ended.

        Raises:
            LostError: the connection broke off, or the folder's keeper ended.
        """
        lines: list[str] = []
        line = _script_line(self._transport, ["--within", self.path, *arguments], threads)
        finished = run_limited(
            self._transport.command(line),
            limits=limits,
            stdin=_script(),
            on_line=lines.append,
            on_error_line=on_error_line,
        )
        answer: dict[str, Any] | None = decode(lines)
        if answer is None and not finished.killed_for:
            self._raise_fault(finished)
        elif answer and "error" in answer:
            self._raise_if_ended()
        return answer, finished

    def pull(self, name: str, local: Path) -> None:
        """Fetch a file of the folder.

        Raises:
            DeviceError: that fails, or takes too long.
            LostError: the connection broke off.
        """
        limits = Limits(seconds=_PULL_SECONDS)
        finished = self._transport.pull(f"{self.path}/{name}", local, limits)
        if finished.returncode != 0:
            raise self._explain_copy(finished, f"fetching {local.name} from {self._transport.board}", limits)

    def end(self, seconds: float = _END_SECONDS) -> None:
        """Have the keeper remove the folder, and wait for that, but not for long."""
        self._ended.set()
        if self._keeper.stdin:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
        self._keeper.wait(seconds)
        self._keeper.end()

    def _copy(self, name: str, local: Path) -> None:
        size = local.stat().st_size
        if size > self._free:
            raise self._no_room(local, self._free)
        limits = Limits(seconds=_COPY_SECONDS + size / _SLOWEST_BYTES_PER_SECOND)
        finished = self._transport.push(local, f"{self.path}/{name}", limits)
        if finished.returncode == 0:
            self._free -= size
        elif any(words in finished.stderr for words in _NO_ROOM):
            raise self._no_room(local, self._inventory().free_bytes, f" ({_last_line(finished.stderr)})")
        else:
            raise self._explain_copy(finished, f"copying {local.name} to {self._transport.board}", limits)

    def _no_room(self, local: Path, free: int, said: str = "") -> DeviceError:
        place = self.path.rpartition("/")[0]
        return DeviceError(
            f"{self._transport.board} has no room for {local.name} ({_size(local.stat().st_size)}): "
            f"{_size(free)} free in {place}{said}",
            blame=self._transport.board,
            remedy=f"Free some there, or name another folder in its TMPDIR. See: {self._by_hand(f'df -h {place}')}",
        )

    def _explain_copy(self, finished: Finished, what: str, limits: Limits) -> DeviceError:
        if finished.killed_for:
            cause = f"{what} took longer than {limits.seconds:.0f} s"
            return DeviceError(cause, blame=self._transport.board, remedy="Check the network between.")
        self._raise_fault(finished)
        cause = f"{what} failed: {_last_line(finished.stderr) or f'exit code {finished.returncode}'}"
        return DeviceError(cause, blame=self._transport.board, remedy=f"See: {self._by_hand(f'df -h {self.path}')}")

    def _inventory(self) -> Inventory:
        answer, finished = self.run(["--inventory", "--json"], limits=Limits(seconds=_ASK_SECONDS))
        if answer is None or "error" in answer:
            cause = f"{self._transport.board} doesn't say what its folder holds: {_last_line(finished.stderr)}"
            raise DeviceError(cause, blame=self._transport.board, remedy="Run the same command again.")
        return parse_inventory(answer)

    def _raise_fault(self, finished: Finished) -> None:
        """Raise what ended a command, if that was not of its own doing."""
        self._raise_if_ended()  # first: a command that shares the keeper's connection knows less of its end
        fault = self._transport.fault(finished)
        if fault:
            raise LostError(fault.error) if fault.lost else fault.error

    def _raise_if_ended(self) -> None:
        """A keeper ends only when it is killed, or its connection; the news takes as long as the network does."""
        code = self._keeper.wait(_NEWS_SECONDS)
        if code is not None:
            fault = self._transport.fault(Finished(code, self._keeper.stderr, None, 0))
            board = self._transport.board
            cause = f"edgekit's folder on {board} is gone: what kept it there was ended"
            gone = DeviceError(cause, blame=board, remedy="Check that the board has memory to spare, then try again.")
            raise LostError(fault.error if fault else gone)

    def _by_hand(self, line: str) -> str:
        return shlex.join(self._transport.command(line))

    def _feed(self) -> None:
        """Send the script, then a sign of life now and then: a keeper that hears none is on a connection that died."""
        with contextlib.suppress(OSError, ValueError):  # it has ended, and stdin was closed
            stdin = self._keeper.stdin
            assert stdin is not None
            stdin.write(_script().read_bytes())
            stdin.flush()
            while not self._ended.wait(_BEAT_SECONDS):
                stdin.write(b"\n")
                stdin.flush()

    def _await_ready(self) -> Kept:
        board, said = self._transport.board, list[str]()
        deadline = time.monotonic() + _START_SECONDS
        while True:
            check_stopped()
            try:
                line = self._said.get(timeout=0.1)
            except queue.Empty:
                if not self.stands and self._said.empty():
                    raise self._explain_start(said) from None
                if time.monotonic() > deadline:
                    cause = f"{board} was reached and started no Python within {_START_SECONDS:.0f} s"
                    raise DeviceError(cause, blame=board, remedy=f"See: {self._by_hand('uptime')}") from None
                continue
            said.append(line)
            if _READY in line:
                return parse_kept(decode([line.partition(_READY)[2]]))
            if "waiting" in (decode([line]) or {}):
                events.warn(f"{board} is in use by another run; waiting for it")
                deadline = float("inf")

    def _explain_start(self, said: Sequence[str]) -> Exception:
        """The error for a keeper that ended before its folder was there."""
        board = self._transport.board
        finished = Finished(self._keeper.end(), self._keeper.stderr, None, 0)
        fault = self._transport.fault(finished)
        if fault:
            return LostError(fault.error) if fault.lost else fault.error
        if finished.returncode in {_NOT_FOUND, _NOT_RUN}:
            cause = f"{board} has no {self._transport.python}: {_last_line(finished.stderr)}"
            return MissingToolError(cause, blame=board, remedy=self._transport.install_python())
        if _TOO_OLD in finished.stderr:
            version = finished.stderr.partition(_TOO_OLD)[2].split()[0]
            cause = f"{self._transport.python} on {board} is Python {version}, and 3.8 is the oldest that works"
            return MissingToolError(cause, blame=board, remedy=self._transport.install_python())
        error = parse_error(decode(said), board)
        if error:
            return DeviceError(f"{board}: {error.cause}", blame=board, remedy=error.remedy)
        told = _last_line(finished.stderr) or _last_line("".join(said)) or "nothing"
        cause = f"{self._transport.python} on {board} ended with exit code {finished.returncode}, and said: {told}"
        return DeviceError(cause, blame=board, remedy="Check that it starts there.")


def altered(what: str, digest: str, transport: Transport) -> IntegrityError:
    """The error for a copy that differs from what was sent, again and again.

    Args:
        what: the file and its way, like "model.tflite arrives on pi@bench-3".
        digest: what it should have been.
    """
    return IntegrityError(
        f"{what} altered, twice: its SHA-256 is not {digest[:16]}…",
        blame=f"the connection to {transport.board}, or its storage",
        remedy="Check the board's memory card or disk, and what stands between it and this machine.",
    )


def _script() -> Path:
    return resource("scripts/bench_on_device.py")


def _script_line(transport: Transport, arguments: Sequence[str], threads: int = 1) -> str:
    """The shell line that runs the script from its stdin. It begins a line of its own, whatever a login printed."""
    starter = _STARTER.format(
        oldest=OLDEST_PYTHON, too_old=_TOO_OLD, size=_script().stat().st_size, digest=digest_file(_script())
    )
    settings = [f"{name}={value}" for name, value in repeatable_settings(threads).items()]
    # The shell stays, to tell how it ended: a signal is no exit code, and ssh would have nothing to say of it.
    program = f"{transport.python} -c {shlex.quote(starter)} {shlex.join(arguments)}"
    return f"echo; env {shlex.join(settings)} {program}; exit $?"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
