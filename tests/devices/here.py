"""Devices that need no board: this machine under a name of its own, with the real script and runtimes; and none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgekit.core.errors import DeviceError
from edgekit.core.process import Limits
from edgekit.devices.base import BenchRequest, Device
from edgekit.devices.local import LocalDevice

__all__ = ["SCHEMES", "Gone", "Here"]


class Here(LocalDevice):
    """This machine, whose script declares something else than it found: that it throttled, or is emulated."""

    def __init__(self, uri: str = "here://", **said: Any) -> None:
        self.uri = uri
        self.said = said
        self.runs = 0

    def bench(self, request: BenchRequest, *, blame: str, limits: Limits) -> Any:
        """As `LocalDevice`; an emulated device never times."""
        self.runs += 1
        timing = request.timing and self.said.get("kind") != "emulated"
        return {**super().bench(replace(request, timing=timing), blame=blame, limits=limits), **self.said}


class Gone(LocalDevice):
    """A board that was unplugged."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def bench(self, request: BenchRequest, *, blame: str, limits: Limits) -> Any:
        """It never answers."""
        raise DeviceError(f"{self.uri} does not answer", blame="the network", remedy=f"Try: ping {self.uri[7:]}")


# For `edgekit.devices.opening`.
SCHEMES: dict[str, Callable[[str], Device]] = {
    "here": Here,
    "gone": Gone,
    "emulated": lambda uri: Here(uri, kind="emulated"),
    "throttled": lambda uri: Here(uri, valid=False, invalid=["the clock fell from 1.5 to 0.6 GHz"]),
}
