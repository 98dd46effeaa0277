"""What the verbs share that run on devices: the same work on one or many, and one document of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgekit.devices.base import Device
from edgekit.devices.fleet import Board, Outcome, gather_boards, run_fleet

__all__ = ["document", "is_fleet", "on_boards"]

_T = TypeVar("_T")


def on_boards(
    devices: Sequence[str] | None, file: Path | None, work: Callable[[Device], _T]
) -> tuple[Outcome[_T], ...]:
    """Do the work on the devices that were named, or here if none was; the outcomes in their order.

    Raises:
        EdgekitError: there is one device alone, and it failed: the verb then fails as it does without devices.
    """
    boards = gather_boards(devices or (), file) or (Board("local", "local"),)
    outcomes = run_fleet(boards, lambda _, device: work(device))
    if len(outcomes) == 1 and outcomes[0].error:
        raise outcomes[0].error
    return outcomes


def is_fleet(outcomes: Sequence[Outcome[Any]]) -> bool:
    """Whether there are several, and so a document and a table of devices."""
    return len(outcomes) > 1


def document(outcomes: Sequence[Outcome[_T]], answer: Callable[[_T], Any], exit_code: int) -> Any:
    """The JSON document of a verb: what it answers on one device; on several, each one's answer or error.

    Args:
        answer: the document for what the work returned on a device.
    """
    if not is_fleet(outcomes):
        return answer(_result(outcomes[0]))
    devices = []
    for outcome in outcomes:
        named = {"device": outcome.board.device, "name": outcome.board.name}
        if outcome.error:
            devices.append({**named, "error": outcome.error.to_dict(), "exit_code": outcome.error.exit_code})
        else:
            devices.append({**named, "answer": answer(_result(outcome))})
    return {"schema_version": 1, "devices": devices, "exit_code": exit_code}


def _result(outcome: Outcome[_T]) -> _T:
    assert outcome.result is not None
    return outcome.result
