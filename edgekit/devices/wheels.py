"""Which runtimes can be installed on a board: what their projects publish wheels for, as of late 2026."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Advice", "advise_runtime"]

_64_BIT = ("aarch64", "x86_64")


@dataclass(frozen=True)
class _Wheels:
    package: str
    oldest: int  # Python 3.<oldest>
    newest: int
    machines: tuple[str, ...]
    beside: str = "numpy"


_RUNTIMES = {
    "ai_edge_litert": _Wheels("ai-edge-litert", 9, 14, _64_BIT),
    "tflite_runtime": _Wheels("tflite-runtime", 8, 11, (*_64_BIT, "armv7l"), "'numpy<2'"),
    "tensorflow": _Wheels("tensorflow", 9, 13, _64_BIT),
    "onnxruntime": _Wheels("onnxruntime", 8, 14, _64_BIT),
    "openvino": _Wheels("openvino", 9, 14, _64_BIT),
    "ncnn": _Wheels("ncnn", 8, 14, (*_64_BIT, "armv7l")),
}
_BY_SUFFIX = {
    ".tflite": ("ai_edge_litert", "tflite_runtime"),
    ".onnx": ("onnxruntime",),
    ".xml": ("openvino",),
    ".param": ("ncnn",),
}


@dataclass(frozen=True)
class Advice:
    """What to install: `packages` for pip's command line; if that is empty, `why_none` says what would help instead."""

    packages: str
    why_none: str = ""


def advise_runtime(runtime: str | None, artifact: Path, python: str, machine: str) -> Advice:
    """The runtime for an artifact that a board can install.

    Args:
        runtime: name of the module that was asked for; by the artifact's suffix if None.
        python: the board's version, like "3.11.2".
        machine: as `uname -m` gives it.
    """
    minor = int(python.split(".")[1])
    candidates = [
        _RUNTIMES[name]
        for name in ((runtime,) if runtime else _BY_SUFFIX.get(artifact.suffix, ()))
        if name in _RUNTIMES
    ]
    for wheels in candidates:
        if machine in wheels.machines and wheels.oldest <= minor <= wheels.newest:
            return Advice(f"{wheels.package} {wheels.beside}")
    known = " or ".join(
        f"{wheels.package} (Python 3.{wheels.oldest} to 3.{wheels.newest}, {', '.join(wheels.machines)})"
        for wheels in candidates
    )
    return Advice("", f"No wheel is published for Python {python} on {machine}. There is {known or 'none at all'}.")
