"""What can go wrong, said so that the reader knows what happened, whose doing it is, and what to do next.

Every error that reaches a user is an `EdgekitError`; anything else is a defect of ours. Each class owns one exit
code of the command-line contract.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "BrokenPromiseError",
    "DefectError",
    "DeviceError",
    "EdgekitError",
    "IntegrityError",
    "InvalidInputError",
    "MissingToolError",
    "UnsupportedOpError",
    "UsageError",
    "from_dict",
    "from_system",
]


class EdgekitError(Exception):
    """An error with a cause, someone to blame, and a remedy.

    Attributes:
        cause: what happened, one sentence with the facts (file, layer, numbers).
        blame: whose doing it is: "your model", "your data", "your recipe", "this machine", "edgekit", …
        remedy: what to do next; a line that can be pasted where there is one.
        exit_code: the process exit code of the command-line contract.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, *, blame: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.blame = blame
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_dict, (self.to_dict(),))

    def to_dict(self) -> dict[str, str]:
        """The error as JSON, to cross a process boundary."""
        return {"error": type(self).__name__, "cause": self.cause, "blame": self.blame, "remedy": self.remedy}


class DefectError(EdgekitError):
    """A defect of ours."""

    exit_code = 1


class UsageError(EdgekitError):
    """The command was called wrongly: unknown target, unwritable output folder, contradicting flags."""

    exit_code = 2


class UnsupportedOpError(EdgekitError):
    """An operator that the target or we can't take; names layer, op and remedy."""

    exit_code = 3


class DeviceError(EdgekitError):
    """The device is out of reach."""

    exit_code = 6


class IntegrityError(EdgekitError):
    """A digest or a signature does not match."""

    exit_code = 8


class InvalidInputError(EdgekitError):
    """The model, the data or the recipe is not valid."""

    exit_code = 9


class MissingToolError(EdgekitError):
    """A tool or an optional extra is not installed."""

    exit_code = 10


class BrokenPromiseError(EdgekitError):
    """Something ran otherwise than promised: precision, delegate, golden outputs."""

    exit_code = 11


_CLASSES = {
    c.__name__: c
    for c in (
        DefectError, UsageError, UnsupportedOpError, DeviceError, IntegrityError,
        InvalidInputError, MissingToolError, BrokenPromiseError,
    )
}  # fmt: skip


def from_dict(data: dict[str, str]) -> EdgekitError:
    """The error that `EdgekitError.to_dict` described."""
    return _CLASSES.get(data["error"], DefectError)(data["cause"], blame=data["blame"], remedy=data["remedy"])


def from_system(error: OSError) -> UsageError:
    """The error for what the operating system refused: a full disk, a folder that can't be written."""
    named = error.filename2 or error.filename
    where = "there" if named else "of the output folder, the store ($EDGEKIT_CACHE) and the temporary folder ($TMPDIR)"
    return UsageError(
        f"the system said: {error.strerror or error}{f' ({named})' if named else ''}",
        blame="this machine",
        remedy=f"Check free space and permissions {where}, then run the same command again: it goes on from there.",
    )
