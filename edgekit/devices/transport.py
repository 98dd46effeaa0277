"""How a board is reached: what `remote` asks of the ways to it, each of which is somebody's own client program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgekit.core.errors import EdgekitError
from edgekit.core.process import Finished, Limits

__all__ = ["Fault", "Transport"]


@dataclass(frozen=True)
class Fault:
    """What a client says of itself, or of the way to the board.

    Attributes:
        error: for the user.
        lost: a connection that stood broke off; another try may get through.
    """

    error: EdgekitError
    lost: bool


class Transport(Protocol):
    """A way to one board. Nothing is reached before its first use.

    Attributes:
        uri: how the user named the device.
        board: what messages call it, like "pi@bench-3".
        python: shell words that start Python there.
    """

    uri: str
    board: str
    python: str

    def hold(self, line: str) -> Sequence[str]:
        """The command here that runs a shell line there for as long as the board is in use.

        Its stdin, stdout and exit code are those of what runs there. The others may share its connection.
        """

    def command(self, line: str) -> Sequence[str]:
        """The command here that runs a shell line there, with its stdin, stdout, stderr and exit code."""

    def push(self, local: Path, remote: str, limits: Limits) -> Finished:
        """Copy a file there."""

    def pull(self, remote: str, local: Path, limits: Limits) -> Finished:
        """Copy a file from there; `local` may be half-made where that fails."""

    def fault(self, finished: Finished) -> Fault | None:
        """Whether the client failed, where a command of ours ended without what was wanted; None if it didn't."""

    def install(self, package: str) -> str:
        """The remedy, a sentence or more, that brings a Python package to the board."""

    def install_python(self) -> str:
        """The remedy that brings Python to the board, or names one that is there."""

    def close(self) -> None:
        """Leave nothing here. It can be used again."""
