"""The instructions that an inference executes, counted in an emulator: the same number in every run."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.core.process import Limits
from edgekit.core.scratch import scratch
from edgekit.devices.answer import parse_error
from edgekit.devices.base import BenchRequest
from edgekit.devices.local import LocalDevice
from edgekit.devices.sysroot import Sysroot

__all__ = ["count_instructions"]

_RUNS = 10
_SHOW_CPU = "print(open('/proc/cpuinfo').read(), end='')"


def count_instructions(
    request: BenchRequest, sysroot: Sysroot, environment: Mapping[str, str], *, blame: str, limits: Limits
) -> list[int]:
    """The instructions of one inference of each artifact, in the order of the request.

    Args:
        request: what to run; its samples and answers play no part.
        sysroot: an emulated board with a counter.
        environment: of the emulated programs, as `Sysroot.environment` makes it.
        blame: who made the artifact.
        limits: as `Device.bench` takes them.
    """
    bare = replace(request, inputs=None, outputs=None, golden=None, golden_outputs=None, timing=False, mark=_RUNS)
    with scratch() as folder:
        _lay_out(folder, sysroot, environment)
        error = parse_error(_CountingCpu(sysroot, environment, folder).bench(bare, blame=blame, limits=limits), blame)
        if error:
            raise error
        marks = [int(line) for line in (folder / "counts").read_text().split()]
    return [round((end - start) / _RUNS) for start, end in zip(marks[::2], marks[1::2], strict=True)]


def _lay_out(folder: Path, sysroot: Sysroot, environment: Mapping[str, str]) -> None:
    """A view of the userland for the qemu that takes plugins.

    It is an older one, which shows programs this machine's /proc/cpuinfo, and the runtimes crash on one that isn't of
    an ARM CPU: so it finds what the newer qemu shows.
    """
    for part in sysroot.root.iterdir():
        (folder / part.name).symlink_to(part)
    shown = subprocess.run([*sysroot.python, "-c", _SHOW_CPU], env=environment, check=True, capture_output=True)
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_bytes(shown.stdout)


@dataclass(frozen=True)
class _CountingCpu(LocalDevice):
    """An emulated CPU that writes its counts to the file `counts` in `folder`."""

    sysroot: Sysroot
    environment: Mapping[str, str]
    folder: Path

    def _interpreter(self) -> Sequence[str]:
        counter, (qemu, python) = self._counter, self.sysroot.python
        plugin = f"{counter / 'count_instructions.so'},out={self.folder / 'counts'}"
        return [str(counter / Path(qemu).name), "-U", "LD_LIBRARY_PATH", "-plugin", plugin, python]

    def _environment(self, threads: int, runtime: str | None) -> Mapping[str, str]:  # noqa: ARG002 - it is settled already
        return {**self.environment, "LD_LIBRARY_PATH": str(self._counter / "lib"), "QEMU_LD_PREFIX": str(self.folder)}

    @property
    def _counter(self) -> Path:
        assert self.sysroot.counter is not None
        return self.sysroot.counter
