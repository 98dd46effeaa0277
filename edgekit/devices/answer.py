"""The bench script's answer, checked: it may come from another machine, so it is parsed before it is believed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import DeviceError, EdgekitError, from_dict
from edgekit.core.types import Account, EvidenceKind, Measurement, OpAccount, Timing

__all__ = ["parse_error", "parse_measurements"]


class _Part(BaseModel):
    """A part of the answer. Newer scripts may say more than we know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Timing(_Part):
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    cpu_ms: float
    runs: int


class _Op(_Part):
    op: str
    precision: str
    count: int
    delegated: int = 0


class _Account(_Part):
    storage: dict[str, int]
    weights: dict[str, int] = {}
    compute: list[_Op]


class _Ratio(_Part):
    cpu: float
    wall_min: float


class _Artifact(_Part):
    load_ms: float
    first_ms: float
    timing: _Timing | None
    peak_bytes: int | None
    account: _Account
    ratio: _Ratio | None


class _Runtime(_Part):
    name: str
    version: str


class _Device(_Part):
    model: str
    cpu: str
    machine: str


class _Answer(_Part):
    device: _Device
    runtime: _Runtime
    threads: int
    artifacts: list[_Artifact]


class _Error(_Part):
    error: str
    cause: str
    blame: str
    remedy: str


def parse_measurements(answer: Any, kind: EvidenceKind) -> list[Measurement]:
    """A measurement for each artifact, in the order of the call; the first one's ratio is to the second.

    Args:
        answer: the decoded JSON of the bench script.
        kind: what kind of evidence the device gives.

    Raises:
        DeviceError: the answer is not what our script writes.
    """
    try:
        parsed = _Answer.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise DeviceError(
            f"the device's answer is not the bench script's: {place}: {first['msg']}",
            blame="the device",
            remedy="Use the bench_on_device.py that came with this edgekit.",
        ) from error
    baseline = parsed.artifacts[1].ratio if len(parsed.artifacts) > 1 else None
    where = f"{parsed.device.model or parsed.device.machine}, {parsed.device.cpu}"
    return [
        Measurement(
            kind=kind,
            where=where,
            runtime=f"{parsed.runtime.name} {parsed.runtime.version}",
            threads=parsed.threads,
            timing=_timing(item),
            ratio=baseline.cpu if baseline and index == 0 else None,
            ratio_wall_min=baseline.wall_min if baseline and index == 0 else None,
            peak_bytes=item.peak_bytes,
            account=_account(item.account),
        )
        for index, item in enumerate(parsed.artifacts)
    ]


def parse_error(answer: Any, blame: str) -> EdgekitError | None:
    """The error that the script reported, or None if it reported none.

    Args:
        blame: who made the artifact, where the script says "your artifact".
    """
    try:
        error = _Error.model_validate(answer["error"]).model_dump()
    except (KeyError, TypeError, ValidationError):
        return None
    if error["blame"] == "your artifact":
        error["blame"] = blame
    return from_dict(error)


def _timing(item: _Artifact) -> Timing | None:
    if item.timing is None:
        return None
    return Timing(**item.timing.model_dump(), first_ms=item.first_ms, load_ms=item.load_ms)


def _account(account: _Account) -> Account:
    return Account(
        storage=tuple(sorted(account.storage.items())),
        weights=tuple(sorted(account.weights.items())),
        compute=tuple(OpAccount(**op.model_dump()) for op in account.compute),
    )
