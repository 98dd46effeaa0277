"""What `edgekit bench` answers: an artifact timed on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.errors import InvalidInputError
from edgekit.core.evidence import Measurement
from edgekit.core.types import Options
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL, measure
from edgekit.devices.opening import using
from edgekit.pipeline.output import MANIFEST_NAME, artifact_folder, read_manifest, reading_manifest

__all__ = ["Runnable", "bench", "find_runnable"]

_SUFFIXES = (".tflite", ".xml", ".onnx", ".param")


@dataclass(frozen=True)
class Runnable:
    """A file that a runtime opens, with the options that it was promised with.

    Attributes:
        name: what the user called it.
        path: the file that the runtime opens.
        options: runtime options.
        runtime: the runtime's module on this machine; by the file's suffix if None.
        device_runtime: the same on a device.
        digest: SHA-256 that the manifest gives, for the device to check; None without a manifest.
    """

    name: str
    path: Path
    options: Options = ()
    runtime: str | None = None
    digest: str | None = None
    device_runtime: str | None = None

    def runtime_on(self, device: Device) -> str | None:
        """The runtime's module on that device; by the file's suffix if None."""
        return self.runtime if device is LOCAL else self.device_runtime


def bench(
    path: str | Path, *, device: Device | str = LOCAL, threads: int = 1, max_seconds: float = 20.0
) -> tuple[Measurement, dict[str, Any]]:
    """Time an artifact on a device, and return the bench script's whole answer too.

    Args:
        path: a target's folder, or any file that a runtime opens.
        device: where; a URI will do.
        threads: threads of the runtime.
        max_seconds: the timing ends then.
    """
    artifact = find_runnable(Path(path))
    with events.stage(f"time {artifact.name}"), using(device) as there:
        measurements, answer = measure(
            artifact.path,
            device=there,
            options=artifact.options,
            runtime=artifact.runtime_on(there),
            threads=threads,
            max_seconds=max_seconds,
            digest=artifact.digest,
        )
    return measurements[0], answer


def find_runnable(path: Path) -> Runnable:
    """What `path` means: a target's folder or a file in it (with its manifest's options), or any file of a runtime.

    Raises:
        InvalidInputError: it is none of these, or its manifest can't be read.
    """
    if path.is_dir() or (path.parent / MANIFEST_NAME).is_file():
        folder = artifact_folder(path)
        manifest = read_manifest(folder)
        with reading_manifest(folder):
            artifact = manifest["artifact"]
            options = tuple((key, value) for key, value in artifact["runtime_options"])
            return Runnable(
                str(folder),
                folder / artifact["files"][0],
                options,
                artifact["runtime"],
                artifact["digest"],
                artifact.get("device_runtime") or None,
            )
    if path.suffix.lower() not in _SUFFIXES:
        raise InvalidInputError(
            f"{path} is no artifact: its name ends in none of {', '.join(_SUFFIXES)}",
            blame="the command line",
            remedy="Name a target's folder that a build made, or a file of a runtime.",
        )
    return Runnable(str(path), path)
