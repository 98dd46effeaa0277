"""Several boards at once: named in a TOML or by their URIs, each worked on in a thread of its own.

The TOML has a table [boards.kitchen] a board, with the key device = "ssh://pi@kitchen", and target = "raspberry-pi-4"
where it shall be known which target that is.
"""

from __future__ import annotations

import contextvars
import dataclasses
import difflib
import functools
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.core import events
from edgekit.core.errors import EdgekitError, InvalidInputError, UsageError, from_system
from edgekit.core.stopping import check_stopped, stoppable
from edgekit.devices.base import Device
from edgekit.devices.opening import open_device

__all__ = ["Board", "Outcome", "fleet_exit_code", "gather_boards", "load_boards", "run_fleet"]

T = TypeVar("T")

# Devices that compute on this machine: side by side, each would be timed while the others work.
_HERE = ("local", "qemu://")
_EXAMPLE = '[boards.kitchen] with device = "ssh://pi@kitchen", and target = "raspberry-pi-4" if you like'


@dataclass(frozen=True)
class Board:
    """A device of a fleet.

    Attributes:
        name: what tables show: its name in the TOML, or its URI.
        device: its URI.
        target: name of the target that the TOML says it is; None where nothing says so.
    """

    name: str
    device: str
    target: str | None = None


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of the work on one board: a result, or the error that ended it.

    Attributes:
        began, ended: when the work ran, in seconds of `time.monotonic`.
    """

    board: Board
    result: T | None
    error: EdgekitError | None
    began: float
    ended: float


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    target: str | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    boards: dict[str, _Entry] = Field(min_length=1)


def load_boards(file: Path) -> tuple[Board, ...]:
    """The boards of a TOML file, in its order.

    Raises:
        UsageError: there is no such file.
        InvalidInputError: it is not a file of boards; names the line.
    """
    if not file.is_file():
        raise UsageError(
            f"there is no file of boards {file}", blame="the command line", remedy=f"Write one: a table {_EXAMPLE}."
        )
    try:
        text = file.read_text(encoding="utf-8")
        entries = _File.model_validate(tomllib.loads(text)).boards
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(file, str(error)) from error
    except ValidationError as error:
        # A key that is mistyped is also missing: say the former.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        keys = [str(part) for part in first["loc"]]
        what = _unknown_key(keys) if first["type"] == "extra_forbidden" else f"{'.'.join(keys)}: {first['msg']}"
        # What is missing stands nowhere: its table does.
        raise _invalid(file, what, _line_of(keys[: -1 if first["type"] == "missing" else None], text)) from error
    seen: dict[str, str] = {}
    for name, entry in entries.items():
        line = _line_of(["boards", name, "device"], text)
        if entry.device in seen:
            raise _invalid(file, f"{name} is the same device as {seen[entry.device]}", line)
        seen[entry.device] = name
        try:
            open_device(entry.device)
        except UsageError as error:
            raise _invalid(file, error.cause, line, error.remedy) from error
    return tuple(Board(name, entry.device, entry.target) for name, entry in entries.items())


def gather_boards(devices: Iterable[str], file: Path | None = None) -> tuple[Board, ...]:
    """The boards that a command line names, each once.

    Args:
        devices: URIs, or names of boards in the file.
        file: a TOML of boards; all of them, if `devices` is empty.

    Raises:
        UsageError: neither a URI of a device nor a board's name, or there is no such file.
        InvalidInputError: as `load_boards`.
    """
    known = {board.name: board for board in load_boards(file)} if file else {}
    boards = {board.device: board for board in known.values()}
    chosen = []
    for device in devices:
        if device not in known:
            _check_named(device, known, file)
        chosen.append(known.get(device) or boards.get(device) or Board(device, device))
    return tuple(dict.fromkeys(chosen)) if chosen else tuple(known.values())


def run_fleet(boards: Sequence[Board], work: Callable[[Board, Device], T]) -> tuple[Outcome[T], ...]:
    """Do the same work on every board: side by side, but one after another on those that are this machine.

    A board that fails ends its own work only. An interrupt, or a defect of ours, ends all; the devices clean up.

    Args:
        boards: where.
        work: gets the board and its device, which is closed afterwards. It runs in a thread, and its events reach the
            caller's listener, with the board's name as their source if there are several boards.

    Returns:
        An outcome for each board, in their order.
    """
    stopped, speaking = threading.Event(), threading.Lock()
    rows: dict[str, list[int]] = {}
    for index, board in enumerate(boards):
        rows.setdefault("here" if board.device.startswith(_HERE) else board.device, []).append(index)
    outcomes: dict[int, Outcome[T]] = {}

    def run_row(indices: list[int]) -> None:
        for index in indices:
            run = functools.partial(_run, boards[index], work, stopped)
            outcomes[index] = _aloud(boards[index], run, speaking) if len(boards) > 1 else run()

    with ThreadPoolExecutor(max_workers=max(len(rows), 1), thread_name_prefix="edgekit-board") as pool:
        # Threads begin with an empty context: without ours, what a board says would reach no listener.
        running = [pool.submit(contextvars.copy_context().run, run_row, indices) for indices in rows.values()]
        try:
            for ended in wait(running, return_when=FIRST_EXCEPTION).done:
                ended.result()
        except BaseException:
            stopped.set()
            raise
    return tuple(outcomes[index] for index in range(len(boards)))


def fleet_exit_code(outcomes: Iterable[Outcome[T]]) -> int:
    """0, or the lowest exit code of a board that failed."""
    return min((outcome.error.exit_code for outcome in outcomes if outcome.error), default=0)


def _run(board: Board, work: Callable[[Board, Device], T], stopped: threading.Event) -> Outcome[T]:
    result, error, began = None, None, time.monotonic()
    try:
        device = open_device(board.device)
        try:
            with stoppable(stopped):
                check_stopped()
                result = work(board, device)
        finally:
            device.close()
    except (EdgekitError, OSError) as failure:
        error = from_system(failure) if isinstance(failure, OSError) else failure
    return Outcome(board, result, error, began, time.monotonic())


def _aloud(board: Board, run: Callable[[], Outcome[T]], speaking: threading.Lock) -> Outcome[T]:
    """Run it as a stage of the caller's listener, who hears one board at a time, and which."""
    listener = events.current_listener()

    def say(event: events.Event) -> None:
        if listener is not None:
            with speaking:
                listener(dataclasses.replace(event, source=board.name))

    def say_of_work(event: events.Event) -> None:
        # Stages do not nest: those of the work are how far the board's own is.
        if event.kind == "stage":
            say(events.Event("progress", event.text))
        elif event.kind != "done":
            say(event)

    say(events.Event("stage", board.name))
    with events.listening(say_of_work):
        outcome = run()
    say(events.Event("failed" if outcome.error else "done", board.name))
    return outcome


def _check_named(device: str, known: Iterable[str], file: Path | None) -> None:
    """Refuse what is neither a URI of a device nor, since it is not `known`, a board's name."""
    try:
        open_device(device)
    except UsageError as error:
        if file is None or "://" in device:
            raise
        raise UsageError(
            f"{device!r} is neither a board of {file} nor a device",
            blame="the command line",
            remedy=f"The boards are {', '.join(known)}. {error.remedy}",
        ) from error


def _unknown_key(keys: list[str]) -> str:
    known = _File.model_fields if len(keys) == 1 else _Entry.model_fields
    close = difflib.get_close_matches(keys[-1], known, n=1)
    return f"there is no key {'.'.join(keys)!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _line_of(keys: Iterable[str], text: str) -> int | None:
    """The line of the last of `keys`, counted from 1, each looked for behind the one that it is in."""
    at = 0
    for key in keys:
        pattern = rf"(?:^|[\[.\s{{,])[\"']?{re.escape(key)}[\"']?\s*[.=\]]"
        found = re.compile(pattern, re.MULTILINE).search(text, at)
        if not found:
            return None
        at = found.end() - 1
    return text.count("\n", 0, at) + 1


def _invalid(file: Path, what: str, line: int | None = None, remedy: str = "") -> InvalidInputError:
    place = f"{file}, line {line}" if line else str(file)
    return InvalidInputError(
        f"the file of boards {place}: {what}",
        blame="your file of boards",
        remedy=remedy or f"A board is a table {_EXAMPLE}.",
    )
