"""Emulated ARM CPUs as devices: the bench script under qemu-user, with the ARM wheels of the runtimes.

Emulation proves that an artifact runs on an architecture and what it answers there. It has no speed; but the
instructions that an inference takes can be counted, and are the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from edgekit.core.errors import UsageError
from edgekit.core.process import Limits, repeatable_environment
from edgekit.devices.base import BenchRequest
from edgekit.devices.counting import count_instructions
from edgekit.devices.local import LocalDevice
from edgekit.devices.sysroot import Sysroot, find_sysroot

__all__ = ["CPUS", "QemuDevice"]

# By the name in the URI: the architecture of the userland, and qemu's name for the CPU.
CPUS = {
    "cortex-a53": ("aarch64", "cortex-a53"),
    "cortex-a72": ("aarch64", "cortex-a72"),
    "cortex-a76": ("aarch64", "cortex-a76"),
    "armv7": ("armv7", "cortex-a7"),
}


class QemuDevice(LocalDevice):
    """An emulated CPU: `qemu://cortex-a76`, or with a runtime of one's choice `qemu://cortex-a53?runtime=tflite_runtime`.

    Raises:
        UsageError: no such CPU, or another query.
    """

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.uri = uri
        self._runtime = query.pop("runtime", None)
        if parts.scheme != "qemu" or parts.netloc not in CPUS or parts.path.strip("/") or query:
            raise UsageError(
                f"{uri!r} names no emulated CPU",
                blame="the device's URI",
                remedy=f"Give {', '.join(f'qemu://{cpu}' for cpu in CPUS)}, with ?runtime=NAME behind it or not.",
            )
        self._architecture, self._cpu = CPUS[parts.netloc]

    def bench(self, request: BenchRequest, *, blame: str, limits: Limits) -> Any:
        """As `Device.bench`; with the instructions of an inference, where the sysroot can count them."""
        answer = super().bench(request, blame=blame, limits=limits)
        if self._sysroot.counter and "error" not in answer:
            environment = self._environment(request.threads, request.runtime)
            counts = count_instructions(request, self._sysroot, environment, blame=blame, limits=limits)
            for artifact, count in zip(answer["artifacts"], counts, strict=True):
                artifact["instructions"] = count
        return answer

    @cached_property
    def _sysroot(self) -> Sysroot:
        return find_sysroot(self._architecture)

    def _interpreter(self) -> Sequence[str]:
        return self._sysroot.python

    def _environment(self, threads: int, runtime: str | None) -> Mapping[str, str]:
        return self._sysroot.environment(self._cpu, self._runtime or runtime, repeatable_environment(threads))
