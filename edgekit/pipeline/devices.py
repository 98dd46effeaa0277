"""What `edgekit devices` answers: which devices this machine knows, and what each one is, has, and how it fares."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.core import events, machine
from edgekit.core.errors import EdgekitError
from edgekit.devices.adb import attached_boards, out_of_reach
from edgekit.devices.answer import DeviceFacts, DeviceState, parse_facts, parse_state
from edgekit.devices.base import Device
from edgekit.devices.fleet import Board, Outcome, run_fleet
from edgekit.devices.qemu import CPUS
from edgekit.devices.sysroot import find_sysroot
from edgekit.pipeline.targets import list_targets, load_target, speaks_for

__all__ = ["Found", "Probed", "known_devices", "probe_devices"]


@dataclass(frozen=True)
class Found:
    """A device that can be named, found without reaching it.

    Attributes:
        device: its URI.
        ready: whether it can be used as far as can be told from here.
        detail: what is known of it.
        remedy: what to do where it is not ready.
    """

    device: str
    ready: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Probed:
    """A device that was asked.

    Attributes:
        facts: what it is.
        state: how it fares.
        answer: everything that it said.
        targets: the shipped targets that it is, whose speed it thus tells.
    """

    facts: DeviceFacts
    state: DeviceState
    answer: dict[str, Any]
    targets: tuple[str, ...]


def known_devices() -> tuple[Found, ...]:
    """The devices that can be named on this machine, but for those behind ssh, which are any: nothing is reached."""
    here = Found("local", ready=True, detail=f"{machine.cpu_model()}, {machine.architecture()}")
    return (here, *_emulated(), *_adb())


def probe_devices(boards: Sequence[Board]) -> tuple[Outcome[Probed], ...]:
    """Ask boards, side by side, what they are."""
    return run_fleet(boards, _probe)


def _probe(board: Board, device: Device) -> Probed:
    answer = device.probe()
    facts = parse_facts(answer)
    targets = tuple(name for name in list_targets() if speaks_for(load_target(name), facts))
    if board.target in list_targets() and board.target not in targets:
        events.warn(f"this is no {board.target}, as its file says: it calls itself {facts.model or facts.cpu}")
    return Probed(facts, parse_state(answer), answer, targets)


def _emulated() -> Iterator[Found]:
    find = functools.cache(find_sysroot)
    for name, (architecture, cpu) in CPUS.items():
        try:
            runtimes = ", ".join(find(architecture).sites)
        except EdgekitError as error:
            yield Found(f"qemu://{name}", ready=False, detail=error.cause, remedy=error.remedy)
        else:
            yield Found(f"qemu://{name}", ready=True, detail=f"emulated {cpu}, {architecture}: {runtimes}")


def _adb() -> Iterator[Found]:
    try:
        boards = attached_boards()
    except EdgekitError as error:
        yield Found("adb://SERIAL", ready=False, detail=error.cause, remedy=error.remedy)
        return
    for board in boards:
        uri = f"adb://{board.serial}"
        if board.usable:
            yield Found(uri, ready=True, detail=board.model)
        else:
            trouble = out_of_reach(board.serial, board.state)
            yield Found(uri, ready=False, detail=trouble.cause, remedy=trouble.remedy)
