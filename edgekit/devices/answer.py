"""The bench script's answer, checked: it may come from another machine, so it is parsed before it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import DeviceError, EdgekitError, from_dict
from edgekit.core.evidence import Account, Delegation, EvidenceKind, Measurement, OpAccount, Product, Timing
from edgekit.core.plain import to_json

__all__ = [
    "DeviceFacts",
    "DeviceState",
    "Inventory",
    "Kept",
    "OpTime",
    "Profile",
    "parse_digests",
    "parse_error",
    "parse_facts",
    "parse_inventory",
    "parse_kept",
    "parse_measurements",
    "parse_profile",
    "parse_state",
]

_P = TypeVar("_P", bound="_Part")


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


class _Product(_Part):
    layers: tuple[str, ...]
    op: str
    precision: str
    stored: str = ""


class _Account(_Part):
    storage: dict[str, int]
    weights: dict[str, int] = {}
    compute: list[_Op]
    products: list[_Product] = []
    islands: int = 0


class _Ratio(_Part):
    cpu: float
    wall_min: float


class _Delegate(_Part):
    asked: str | None
    applied: dict[str, int]
    nodes: int


class _Artifact(_Part):
    load_ms: float | None
    first_ms: float | None
    timing: _Timing | None
    peak_bytes: int | None
    delegate: _Delegate
    account: _Account
    ratio: _Ratio | None
    instructions: int | None = None  # the device's addition: no script counts its own


class _Runtime(_Part):
    name: str
    version: str
    threads: int


class _Device(_Part):
    model: str
    soc: str
    cpu: str
    cpu_part: str
    vendor: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    os: str
    kernel: str
    machine: str
    python: str
    clock: float


class _RuntimeThere(_Part):
    name: str
    version: str | None
    error: str | None


class _Clock(_Part):
    max: float
    limit: float


class _Throttling(_Part):
    now: tuple[str, ...]
    since: tuple[str, ...]


class DeviceState(_Part):
    """How a device fares; None where it doesn't say.

    Attributes:
        governor: of the CPUs' clocks, like "ondemand".
        frequency: the highest of the CPUs' clocks, and the highest that they may take now, in Hz.
        temperature: of its hottest zone, in degrees Celsius.
        throttling: what makes it slower now, and what did so a time before.
        load: processes that run or wait, over the last minute.
    """

    governor: str | None
    frequency: _Clock | None
    temperature: float | None
    throttling: _Throttling | None
    load: float | None


class _Probe(_Part):
    schema_version: Literal[2]
    kind: EvidenceKind
    device: _Device
    state: DeviceState
    runtimes: tuple[_RuntimeThere, ...]


class OpTime(_Part):
    """What an operator takes.

    Attributes:
        op: its type, as the runtime calls it.
        names: what the artifact calls it, or what of it the runtime made it of.
        us: microseconds of an inference.
    """

    op: str
    names: tuple[str, ...]
    us: float


class Profile(_Part):
    """What each executed operator takes, in the order in which they run; `note` says what to know of that."""

    runs: int
    ops: tuple[OpTime, ...]
    note: str


class _Profiled(_Part):
    profile: Profile | None = None


class _Answer(_Part):
    schema_version: Literal[2]
    kind: EvidenceKind
    device: _Device
    runtime: _Runtime
    artifacts: list[_Artifact]
    invalid: tuple[str, ...]


@dataclass(frozen=True)
class DeviceFacts:
    """What a device is, in its own words.

    Attributes:
        kind: measured, or emulated: what its evidence is.
        model: the board's own name, like "Raspberry Pi 5 Model B Rev 1.0", or "".
        soc: like "brcm,bcm2712", or "".
        cpu: for people; `cpu_part` an ARM core's name, like "Cortex-A76", or "".
        vendor: like "GenuineIntel", or "".
        machine: the architecture, as `uname -m` prints it.
        python: version of the Python that runs the script.
        runtimes: name and version of each that can be imported.
        clock: seconds since 1970 when it answered.
    """

    kind: EvidenceKind
    model: str
    soc: str
    cpu: str
    cpu_part: str
    vendor: str
    machine: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    os: str
    kernel: str
    python: str
    runtimes: tuple[tuple[str, str], ...]
    clock: float

    @property
    def identity(self) -> dict[str, Any]:
        """What its figures depend on."""
        facts: dict[str, Any] = to_json(self)
        return {key: value for key, value in facts.items() if key != "clock"}


class _Temp(_Part):
    free_bytes: int


class Kept(_Part):
    """What a keeper says when it has made its folder: where that is, on what device, and how much goes into it."""

    folder: str
    device: _Device
    temp: _Temp


class Inventory(_Part):
    """What a keeper's folder holds: the SHA-256 of its files by name, and the room for more."""

    digests: dict[str, str]
    free_bytes: int


class _Values(_Part):
    digest: str


class _Digests(_Part):
    outputs: _Values | None
    golden: tuple[_Values, ...]


class _Error(_Part):
    error: str
    cause: str
    blame: str
    remedy: str


def parse_facts(answer: Any) -> DeviceFacts:
    """What the device said of itself, from the script's answer to --probe.

    Raises:
        DeviceError: the answer is not what our script writes.
    """
    parsed = _parse(_Probe, answer)
    runtimes = tuple((each.name, each.version or "") for each in parsed.runtimes if each.error is None)
    return DeviceFacts(kind=parsed.kind, runtimes=runtimes, **dict(parsed.device))


def parse_kept(answer: Any) -> Kept:
    """What a keeper said of its folder and its device.

    Raises:
        DeviceError: as `parse_facts`.
    """
    return _parse(Kept, answer)


def parse_inventory(answer: Any) -> Inventory:
    """The script's answer to --inventory.

    Raises:
        DeviceError: as `parse_facts`.
    """
    return _parse(Inventory, answer)


def parse_digests(answer: Any) -> tuple[str | None, tuple[str, ...]]:
    """SHA-256 over the values of the answers to the inputs, and to the golden samples for each artifact.

    Raises:
        DeviceError: as `parse_facts`.
    """
    parsed = _parse(_Digests, answer)
    return parsed.outputs.digest if parsed.outputs else None, tuple(values.digest for values in parsed.golden)


def parse_measurements(answer: Any) -> list[Measurement]:
    """A measurement for each artifact, in the order of the call; the first one's ratio is to the second.

    Args:
        answer: the decoded JSON of the bench script.

    Raises:
        DeviceError: the answer is not what our script writes.
    """
    parsed = _parse(_Answer, answer)
    baseline = parsed.artifacts[1].ratio if len(parsed.artifacts) > 1 else None
    where = f"{parsed.device.model or parsed.device.machine}, {parsed.device.cpu}"
    return [
        Measurement(
            kind=parsed.kind,
            where=where,
            runtime=f"{parsed.runtime.name} {parsed.runtime.version}",
            threads=parsed.runtime.threads,
            timing=_timing(item),
            ratio=baseline.cpu if baseline and index == 0 else None,
            ratio_wall_min=baseline.wall_min if baseline and index == 0 else None,
            peak_bytes=item.peak_bytes,
            account=_account(item.account),
            invalid=parsed.invalid,
            delegation=Delegation(item.delegate.asked, tuple(item.delegate.applied.items()), item.delegate.nodes),
            instructions=item.instructions,
            first_ratio=item.ratio.cpu if item.ratio else None,
        )
        for index, item in enumerate(parsed.artifacts)
    ]


def parse_profile(answer: Any) -> Profile:
    """What the operators of the first artifact take.

    Raises:
        DeviceError: as `parse_measurements`.
    """
    return _parse(_Profiled, answer).profile or Profile(
        runs=0, ops=(), note="the device's bench script is an older one"
    )


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


def parse_state(answer: Any) -> DeviceState:
    """How the device fared when it answered --probe.

    Raises:
        DeviceError: as `parse_facts`.
    """
    return _parse(_Probe, answer).state


def _parse(kind: type[_P], answer: Any) -> _P:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise DeviceError(
            f"the device's answer is not the bench script's: {place}: {first['msg']}",
            blame="the device",
            remedy="Use the bench_on_device.py that came with this edgekit.",
        ) from error


def _timing(item: _Artifact) -> Timing | None:
    if item.timing is None or item.first_ms is None or item.load_ms is None:
        return None
    return Timing(**item.timing.model_dump(), first_ms=item.first_ms, load_ms=item.load_ms)


def _account(account: _Account) -> Account:
    return Account(
        storage=tuple(sorted(account.storage.items())),
        weights=tuple(sorted(account.weights.items())),
        compute=tuple(OpAccount(**op.model_dump()) for op in account.compute),
        products=tuple(Product(**product.model_dump()) for product in account.products),
        islands=account.islands,
    )
