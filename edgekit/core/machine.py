"""What this machine says about itself, from Linux's own files. A file that is not there says nothing."""

from __future__ import annotations

import platform
import re
from pathlib import Path

__all__ = ["architecture", "board_name", "cpu_features", "cpu_model", "cpu_vendor", "memory_bytes"]

_CPU = Path("/proc/cpuinfo")
_MEMORY = Path("/proc/meminfo")
_BOARD = Path("/proc/device-tree/model")


def architecture() -> str:
    """As `uname -m` prints it: "x86_64", "aarch64"."""
    return platform.machine()


def board_name() -> str:
    """The board's own name, like "Raspberry Pi 5 Model B Rev 1.0", or ""."""
    return _text(_BOARD).rstrip("\0\n")


def cpu_vendor() -> str:
    """Like "GenuineIntel", or ""."""
    return _field(_CPU, "vendor_id")


def cpu_model() -> str:
    """Like "Intel(R) Xeon(R) Processor"; the architecture where the CPU has no name of its own."""
    return _field(_CPU, "model name") or architecture()


def cpu_features() -> frozenset[str]:
    """The CPU's features by Linux's names, like "avx512_vnni" or "asimddp"."""
    return frozenset((_field(_CPU, "flags") or _field(_CPU, "Features")).split())


def memory_bytes() -> tuple[int, int]:
    """Memory of the machine and what of it is available, in bytes; zeros where the system does not say."""
    total, available = (_field(_MEMORY, name).removesuffix(" kB") or "0" for name in ("MemTotal", "MemAvailable"))
    return int(total) << 10, int(available) << 10


def _field(file: Path, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*?)\s*$", _text(file), re.MULTILINE)
    return found.group(1) if found else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
