"""The emulated ARM boards that scripts/arm-sysroot makes: found, never made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import MissingToolError, UsageError
from edgekit.core.resources import resource

__all__ = ["Sysroot", "find_sysroot"]

# Settings of this machine's programs that the emulated ones would take for theirs.
_OF_THE_HOST = ("LD_", "OPENBLAS_", "PYTHON", "QEMU_")


@dataclass(frozen=True)
class Sysroot:
    """One architecture's emulator and userland.

    Attributes:
        qemu: qemu-user's program, which stands in front of an ARM program's command line.
        root: the userland: an ARM Debian with Python.
        sites: folders of Python packages, by the runtime that each is for; the first is the usual one.
        counter: the folder of what counts instructions, if it is made.
    """

    qemu: Path
    root: Path
    sites: Mapping[str, Path]
    counter: Path | None

    @property
    def python(self) -> tuple[str, str]:
        """The command of the emulated Python."""
        return str(self.qemu), str(self.root / "usr" / "bin" / "python3.11")

    def site(self, runtime: str | None) -> Path:
        """The packages to run with: the usual ones, or those that have `runtime`, a module's name.

        Raises:
            UsageError: none has it.
        """
        for site in self.sites.values():
            if runtime is None or (site / runtime).is_dir():
                return site
        raise UsageError(
            f"the emulated {self.qemu.name.removeprefix('qemu-')} board has no runtime {runtime!r}",
            blame="the device's URI",
            remedy=f"Name one of {', '.join(self.sites)}, or none.",
        )

    def environment(self, cpu: str, runtime: str | None, base: Mapping[str, str]) -> dict[str, str]:
        """The environment of an emulated program.

        Args:
            cpu: the CPU by qemu's name for it, like "cortex-a76".
            runtime: as `site` takes it.
            base: this machine's, from which everything goes that only its own programs should see.
        """
        return {
            **{name: value for name, value in base.items() if not name.startswith(_OF_THE_HOST)},
            "QEMU_CPU": cpu,
            "QEMU_LD_PREFIX": str(self.root),
            "PYTHONPATH": str(self.site(runtime)),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }


def find_sysroot(architecture: str) -> Sysroot:
    """The emulated board of an architecture: aarch64 or armv7.

    Raises:
        MissingToolError: it isn't made.
    """
    script, bash = resource("scripts/arm-sysroot"), shutil.which("bash") or "/bin/bash"
    found = subprocess.run([bash, script, "--find", architecture], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        absent = found.returncode == MissingToolError.exit_code
        raise MissingToolError(
            f"the emulated {architecture} board isn't made yet" if absent else found.stderr.strip(),
            blame="this machine",
            remedy=f"Run: {script if os.access(script, os.X_OK) else f'bash {script}'} {architecture}",
        )
    places = dict(line.split("=", 1) for line in found.stdout.splitlines())
    qemu, root, counter = Path(places.pop("qemu")), Path(places.pop("root")), places.pop("counter", None)
    sites = {name: Path(place) for name, place in places.items()}
    return Sysroot(qemu, root, sites, Path(counter) if counter else None)
