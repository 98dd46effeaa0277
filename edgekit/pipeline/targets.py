"""Targets: a board is a file that says which back end serves it, what its CPU is good at, and how to recognise it."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edgekit.core import machine
from edgekit.core.digest import digest_json
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.evidence import EvidenceKind
from edgekit.core.resources import resource
from edgekit.core.types import Precision
from edgekit.devices.answer import DeviceFacts
from edgekit.devices.opening import open_device

__all__ = ["Here", "Target", "is_here", "list_targets", "load_target", "speaks_for"]


# CPU features of x86 with which sums of int8 products are exact.
_EXACT_INT8 = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})


class Here(BaseModel):
    """What a machine of the right architecture must show, to be the target itself; an empty table asks nothing more.

    Attributes:
        board: how the board's own name begins ("Raspberry Pi 5"), from the device tree.
        vendor: the CPU's vendor ("GenuineIntel"), from /proc/cpuinfo.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    board: str = ""
    vendor: str = ""


class Target(BaseModel):
    """A board, or a family of machines.

    Attributes:
        name: the file's name without its suffix; also the name of the output folder.
        description: one line for `edgekit targets`.
        note: what a user of this target should know.
        backend: the back end that compiles for it.
        architecture: as `uname -m` prints it.
        cpu: the core's name, like "cortex-a76".
        features: CPU features beyond the architecture's own, by their names in /proc/cpuinfo.
        cores: CPU cores; None where machines of the family differ.
        clock_mhz: highest clock in MHz; None where machines differ.
        memory_mib: memory of the smallest variant in MiB; None where machines differ.
        precisions: what to try when no measurement on the target can tell, the best for this CPU first.
        channel_multiple: channel counts that fill this CPU's kernels are multiples of it.
        options: passed on to the back end.
        device: where its artifacts are proven, as --device names it, unless a build says otherwise; "" is nowhere.
        here: how to recognise it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str
    note: str = ""
    backend: str
    architecture: str
    cpu: str
    features: tuple[str, ...] = ()
    cores: int | None = Field(default=None, ge=1)
    clock_mhz: int | None = Field(default=None, ge=1)
    memory_mib: int | None = Field(default=None, ge=1)
    precisions: tuple[Precision, ...] = Field(min_length=1)
    channel_multiple: int = Field(default=1, ge=1)
    options: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    here: Here = Here()

    @field_validator("precisions")
    @classmethod
    def _each_once(cls, precisions: tuple[Precision, ...]) -> tuple[Precision, ...]:
        if len(set(precisions)) != len(precisions):
            message = "each precision stands once, the best first"
            raise ValueError(message)
        return precisions

    @field_validator("device")
    @classmethod
    def _a_device(cls, uri: str) -> str:
        try:
            if uri:
                open_device(uri)
        except UsageError as error:
            raise ValueError(error.cause) from error
        return uri

    @property
    def saturates(self) -> bool:
        """Whether its CPU may cut off sums of int8 products: see `edgekit.backends.saturation`."""
        return self.architecture == "x86_64" and not _EXACT_INT8 & set(self.features)

    @property
    def digest(self) -> str:
        """SHA-256 of everything the target says."""
        return digest_json(self.model_dump(mode="json"))


def list_targets() -> tuple[str, ...]:
    """The names of the shipped targets, sorted."""
    return tuple(sorted(file.stem for file in resource("targets").glob("*.toml")))


def load_target(name: str) -> Target:
    """The shipped target called `name`, or the one in the file at the path `name` ("./my-board.toml").

    Raises:
        UsageError: there is no such target or file.
        InvalidInputError: the file is not a target file; names the line.
    """
    if name.endswith(".toml") or "/" in name:
        file = Path(name)
        if not file.is_file():
            raise UsageError(
                f"there is no target file {name}",
                blame="the command line",
                remedy="Name a shipped target or an existing file. Run: edgekit targets",
            )
        return _read(file)
    if name not in list_targets():
        close = difflib.get_close_matches(name, list_targets(), n=3)
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(
            f"there is no target called {name!r}",
            blame="the command line",
            remedy=f"{meant}See all with: edgekit targets",
        )
    return _read(resource(f"targets/{name}.toml"))


def is_here(target: Target) -> bool:
    """Whether this machine is the target, so that its clock speaks for it.

    The architecture must agree, and a board is recognised by its own name: an ARM server is no Raspberry Pi, and an
    AMD machine's milliseconds are not shown under an Intel name.
    """
    return _is(target, machine.architecture(), machine.board_name(), machine.cpu_vendor())


def speaks_for(target: Target, facts: DeviceFacts) -> bool:
    """Whether a device is the target, so that its clock speaks for it; an emulated one has none."""
    return facts.kind is EvidenceKind.MEASURED and _is(target, facts.machine, facts.model, facts.vendor)


def _is(target: Target, architecture: str, board: str, vendor: str) -> bool:
    return (
        architecture == target.architecture
        and board.startswith(target.here.board)
        and target.here.vendor in {"", vendor}
    )


def _read(file: Path) -> Target:
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(file, str(error)) from error
    if "name" in content:
        raise _invalid(file, "the file's own name is the target's; remove the key 'name'", _line_of("name", text))
    try:
        return Target.model_validate({"name": file.stem, **content})
    except ValidationError as error:
        first = error.errors()[0]
        keys = [part for part in first["loc"] if isinstance(part, str)]
        if first["type"] == "extra_forbidden":
            raise _invalid(file, _unknown_key(keys), _line_of(keys[-1], text)) from error
        message = f"{'.'.join(keys)}: {first['msg'].removeprefix('Value error, ')}"
        raise _invalid(file, message, _line_of(keys[0], text)) from error


def _unknown_key(keys: list[str]) -> str:
    schema: type[BaseModel] = Here if keys[0] == "here" and len(keys) > 1 else Target
    close = difflib.get_close_matches(keys[-1], schema.model_fields, n=1)
    return f"there is no key {'.'.join(keys)!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _line_of(key: str, text: str) -> int | None:
    """The line where `key` or the table `key` stands, counted from 1."""
    found = re.search(rf"^\s*\[?{re.escape(key)}\s*[=\]]", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else None


def _invalid(file: Path, what: str, line: int | None = None) -> InvalidInputError:
    place = f"{file}, line {line}" if line else str(file)
    return InvalidInputError(
        f"the target file {place}: {what}",
        blame="your target file",
        remedy=f"Compare with a shipped one: {resource('targets/raspberry-pi-5.toml')}",
    )
