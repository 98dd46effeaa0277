"""Which boards an artifact is proven on: those that the build named and that are the target's, else its own default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgekit.core import events
from edgekit.core.errors import EdgekitError, MissingToolError, UsageError
from edgekit.core.evidence import EvidenceKind
from edgekit.devices.answer import DeviceFacts, parse_facts
from edgekit.devices.fleet import Board, run_fleet
from edgekit.pipeline.targets import Target, speaks_for

__all__ = ["Asked", "Boards"]

_LOCAL = "local"


@dataclass(frozen=True)
class Asked:
    """A board that was asked what it is: `facts`, or the `error` that it gave instead.

    Attributes:
        speaks: whether what its clock says counts for the target; an emulated one's never does.
    """

    board: Board
    facts: DeviceFacts | None
    error: EdgekitError | None = None
    speaks: bool = False

    @property
    def emulated(self) -> bool:
        """Whether it has no clock to go by."""
        return self.facts is not None and self.facts.kind is EvidenceKind.EMULATED


@dataclass
class Boards:
    """The boards of a build. Each is asked once what it is.

    Attributes:
        named: those that the build named; none means each target's own default.
    """

    named: Sequence[Board] = ()
    _known: dict[str, tuple[DeviceFacts | None, EdgekitError | None]] = field(default_factory=dict)

    def of(self, target: Target) -> tuple[Asked, ...]:
        """Where artifacts for `target` are proven, beside this host; none where only the host is at hand.

        Raises:
            UsageError: of the boards that the build named none can run what is made for the target.
        """
        if self.named:
            meant = [board for board in self.named if board.target in (None, target.name)]
            asked = [each for each in self._ask(meant, target) if each.error or _runs(each, target)]
            if not asked:
                raise self._none_runs(target)
        else:
            asked = [each for each in self._ask(_default(target), target) if not _not_set_up(each, target)]
        for each in asked:
            if not (each.speaks or each.emulated or each.error or each.board.device == _LOCAL):
                events.warn(f"{each.board.name} is no {target.name}: its clock says nothing of the target's speed")
        return tuple(each for each in asked if each.board.device != _LOCAL)

    def _ask(self, boards: Sequence[Board], target: Target) -> list[Asked]:
        """What each board is. This host needs no asking: it runs whatever its runtimes take."""
        unknown = [board for board in boards if board.device not in self._known and board.device != _LOCAL]
        for outcome in run_fleet(unknown, lambda _, device: parse_facts(device.probe())):
            self._known[outcome.board.device] = (outcome.result, outcome.error)
        found = []
        for board in boards:
            facts, error = self._known.get(board.device, (None, None))
            found.append(Asked(board, facts, error, facts is not None and speaks_for(target, facts)))
        return found

    def _none_runs(self, target: Target) -> UsageError:
        told = ", ".join(f"{uri} is {facts.machine}" for uri, (facts, _) in self._known.items() if facts)
        return UsageError(
            f"none of the devices can run what is made for {target.name}, which is {target.architecture}: {told}",
            blame="the command line",
            remedy="Name one of that architecture too, or --device local to judge on this machine.",
        )


def _default(target: Target) -> list[Board]:
    return [Board(target.device, target.device, target.name)] if target.device else []


def _runs(asked: Asked, target: Target) -> bool:
    return asked.board.device == _LOCAL or (asked.facts is not None and asked.facts.machine == target.architecture)


def _not_set_up(asked: Asked, target: Target) -> bool:
    """An emulator is a default that may be missing; then this host judges alone, as it does without one."""
    missing = isinstance(asked.error, MissingToolError) and asked.board.device.startswith("qemu://")
    if missing and asked.error:
        events.warn(f"{target.name}: judged on this machine alone. To run on an emulated one: {asked.error.remedy}")
    return missing
