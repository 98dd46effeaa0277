"""What `edgekit doctor` shows: whether this machine has what a build needs, and how to get what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.backends.base import backend_names, load_backend
from edgekit.core import machine
from edgekit.core.errors import EdgekitError
from edgekit.core.process import Limits
from edgekit.core.resources import resource
from edgekit.pipeline.child import call
from edgekit.pipeline.store import default_store
from edgekit.pipeline.targets import Target, is_here, load_target

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Check", "examine", "open_runtime"]

_GIB = 1 << 30
_NEEDED_MEMORY = 2 * _GIB  # what a TensorFlow or NNCF child of a small model takes
_NEEDED_DISK = 1 * _GIB
_PROBE_LIMITS = Limits(memory_bytes=4 * _GIB, seconds=60)
# Those that decide which kernels the runtimes pick.
_TELLING_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "asimdhp", "i8mm", "sve",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: the thing.
        state: "ok"; "missing" (not installed); "broken" (there, but unusable).
        detail: what was found.
        remedy: what to do, with a line to paste where there is one; "" when ok.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""


def examine(target: str | None = None) -> list[Check]:
    """Look at this machine: everything, or only what `target` needs.

    Raises:
        UsageError, InvalidInputError: from `load_target`.
    """
    wanted = load_target(target) if target else None
    checks = [_python(), _packages(""), _cpu(), _memory(), *_store(), _shipped()]
    if wanted:
        checks.append(_place(wanted))
    for name in (wanted.backend,) if wanted else backend_names():
        checks += _backend(name)
    return checks


def open_runtime(name: str) -> str:
    """Import the runtime `name` of the bench script and say what it offers. Called in a child process."""
    if name == "openvino":
        from edgekit.backends.openvino.quiet import import_openvino

        openvino = import_openvino()
        return f"{openvino.__version__}, devices: {', '.join(openvino.Core().available_devices)}"
    if name == "ai_edge_litert":
        from ai_edge_litert.interpreter import Interpreter

        assert callable(Interpreter)
        return metadata.version("ai-edge-litert")
    import importlib

    return str(getattr(importlib.import_module(name), "__version__", "version unknown"))


def _python() -> Check:
    version = platform.python_version()
    if version.startswith("3.11."):
        return Check("Python", "ok", version)
    return Check("Python", "broken", version, "Use Python 3.11: the pinned packages are built for it.")


def _packages(extra: str) -> Check:
    """The packages of an extra, or of the core for ""."""
    found: list[str] = []
    absent: list[Requirement] = []
    unfit: list[Requirement] = []
    for requirement in _requirements(extra):
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            absent.append(requirement)
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            unfit.append(requirement)
    wanted = " ".join(f"'{requirement.name}{requirement.specifier}'" for requirement in absent + unfit)
    name = f"packages for {extra}" if extra else "packages"
    remedy = f"Run: {sys.executable} -m pip install {wanted}"
    if absent:
        return Check(name, "missing", "not installed: " + ", ".join(requirement.name for requirement in absent), remedy)
    if unfit:
        return Check(name, "broken", "not the wanted version: " + ", ".join(found), remedy)
    return Check(name, "ok", ", ".join(found))


def _requirements(extra: str) -> Iterator[Requirement]:
    """What edgekit's own metadata asks for under `extra`, extras of extras resolved."""
    from packaging.requirements import Requirement

    for line in metadata.requires("edgekit") or ():
        requirement = Requirement(line)
        always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        under_extra = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not under_extra or (extra and always):
            continue
        if requirement.name == "edgekit":
            for inner in sorted(requirement.extras):
                yield from _requirements(inner)
        else:
            yield requirement


def _cpu() -> Check:
    features = [name for name in _TELLING_FEATURES if name in machine.cpu_features()]
    cores = len(os.sched_getaffinity(0))
    detail = f"{machine.cpu_model()}, {machine.architecture()}, {cores} cores"
    return Check("CPU", "ok", ", ".join([detail, *features]))


def _memory() -> Check:
    total, available = machine.memory_bytes()
    detail = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB available"
    if total and available < _NEEDED_MEMORY:
        return Check("memory", "broken", detail, "Close other programs, or build on a larger machine.")
    return Check("memory", "ok", detail)


def _store() -> Iterator[Check]:
    """The store can be written, and its disk has room."""
    root = default_store().root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    elsewhere = "Name another folder: export EDGEKIT_CACHE=/some/folder"
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        yield Check("store", "broken", f"{root} can't be written", elsewhere)
        return
    size = sum(file.lstat().st_size for file in root.rglob("*") if file.is_file()) if root.exists() else 0
    yield Check("store", "ok", f"{root}, {size / (1 << 20):.0f} MiB")
    free = shutil.disk_usage(existing).free
    detail = f"{free / _GIB:.1f} GiB free"
    yield Check("disk", "ok", detail) if free >= _NEEDED_DISK else Check("disk", "broken", detail, elsewhere)


def _shipped() -> Check:
    """What comes beside the code is there."""
    expected: tuple[Path, ...] = tuple(resource(name) for name in ("targets", "models", "scripts/bench_on_device.py"))
    absent = [str(path) for path in expected if not path.exists()]
    if absent:
        return Check("shipped files", "broken", f"not there: {', '.join(absent)}", "Reinstall edgekit.")
    return Check("shipped files", "ok", ", ".join(path.name for path in expected))


def _place(target: Target) -> Check:
    detail = "this machine: speed is measured here" if is_here(target) else "not this machine: speed stays unproven"
    return Check(f"target {target.name}", "ok", detail)


def _backend(name: str) -> Iterator[Check]:
    """The back end's plugin, its packages, and its runtime opened for real in a child process."""
    try:
        backend: Any = load_backend(name)
    except EdgekitError as error:
        yield Check(f"back end {name}", "broken", error.cause, error.remedy)
        return
    packages = _packages(backend.extra)
    yield packages
    if packages.state == "missing":
        return
    try:
        detail = call(
            "edgekit.pipeline.doctor:open_runtime",
            {"name": backend.runtime},
            what=f"opening the runtime {backend.runtime}",
            blame="this machine",
            limits=_PROBE_LIMITS,
        )
    except EdgekitError as error:
        remedy = f"Run: python -m pip install --force-reinstall 'edgekit[{backend.extra}]'"
        yield Check(f"runtime {backend.runtime}", "broken", error.cause, remedy)
    else:
        yield Check(f"runtime {backend.runtime}", "ok", detail)
