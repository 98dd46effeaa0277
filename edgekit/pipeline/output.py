"""The output folder: written beside, renamed into place, and never over something that isn't ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.digest import digest_file
from edgekit.core.errors import IntegrityError, InvalidInputError, UsageError
from edgekit.core.plain import from_json
from edgekit.core.types import Artifact
from edgekit.pipeline.lock import LOCK_NAME

__all__ = [
    "MANIFEST_NAME",
    "OutputFolder",
    "artifact_folder",
    "read_manifest",
    "reading_manifest",
    "stored_artifact",
    "write_json",
]

MANIFEST_NAME = "manifest.json"
_PREFIX = ".edgekit-"


class OutputFolder:
    """The folder of a build: one folder a target, and the lock."""

    def __init__(self, path: Path) -> None:
        """Claim `path`.

        Raises:
            UsageError: it can't be written, or holds something that edgekit didn't put there.
        """
        self.path = path
        made: list[Path] = []
        try:
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            foreign = sorted(item.name for item in path.iterdir() if not _is_ours(item))
            probe = path / f"{_PREFIX}{os.getpid()}"
            probe.mkdir(exist_ok=True)
            probe.rmdir()
        except OSError as error:
            raise UsageError(
                f"the output folder {path} can't be written: {error.strerror}",
                blame="this machine",
                remedy="Name another folder: --out build/other",
            ) from error
        finally:
            # It could be made: that is all to know before there is something to put into it.
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        if foreign:
            raise UsageError(
                f"the output folder {path} holds things that edgekit didn't make: {', '.join(foreign[:3])}",
                blame="the command line",
                remedy="Name a new or an empty folder: --out build/other",
            )
        self._sweep()

    def replace(self, target: str, fill: Callable[[Path], None]) -> Path:
        """Make the folder of `target` anew with `fill(folder)`; a failure leaves the old one as it was."""
        home = self.path / target
        with self._scratch(target) as fresh:
            fill(fresh)
            retired = self.path / f"{_PREFIX}{os.getpid()}-old-{target}"
            if home.exists():
                home.rename(retired)
            try:
                fresh.rename(home)
            except OSError:
                if retired.exists():
                    retired.rename(home)
                raise
            shutil.rmtree(retired, ignore_errors=True)
        return home

    @contextlib.contextmanager
    def _scratch(self, target: str) -> Iterator[Path]:
        scratch = self.path / f"{_PREFIX}{os.getpid()}-new-{target}"
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _sweep(self) -> None:
        """Put back a target's folder that a kill caught between two renames; remove what else was left half-made."""
        for leftover in self.path.glob(f"{_PREFIX}*"):
            pid, _, rest = leftover.name.removeprefix(_PREFIX).partition("-")
            # Ours can't be alive: in a container every run may have the same number.
            if pid != str(os.getpid()) and Path("/proc", pid).exists():
                continue
            kind, _, target = rest.partition("-")
            if kind == "old" and not (self.path / target).exists():
                leftover.rename(self.path / target)
            elif leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def artifact_folder(path: Path) -> Path:
    """The target's folder that `path` means: the folder itself, or the folder of an artifact's file.

    Raises:
        InvalidInputError: there is no manifest of ours.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / MANIFEST_NAME).is_file():
        inside = sorted(str(manifest.parent) for manifest in folder.glob(f"*/{MANIFEST_NAME}"))
        raise InvalidInputError(
            f"{path} is no artifact of edgekit: {folder / MANIFEST_NAME} does not exist",
            blame="the command line",
            remedy=f"Name one of its targets: {', '.join(inside)}"
            if inside
            else "Name a target's folder that a build made, like build/digits-cnn/raspberry-pi-5",
        )
    return folder


@contextlib.contextmanager
def reading_manifest(folder: Path) -> Iterator[None]:
    """What a manifest lacks, or says in the wrong form, is an error about the manifest in `folder`."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise InvalidInputError(
            f"{folder / MANIFEST_NAME} is not a manifest that this edgekit reads: {said}",
            blame="the artifact",
            remedy="Copy the whole folder again, or build it again.",
        ) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in `folder`, after every file that it lists was found and has the digest that it states.

    Raises:
        InvalidInputError: the manifest can't be read.
        IntegrityError: a file is missing or was changed.
    """
    with reading_manifest(folder):
        manifest: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        files: dict[str, str] = {row["name"]: row["sha256"] for row in manifest["files"]}
        needed = {*manifest.get("artifact", {}).get("files", ()), *files}
    for name in sorted(needed - files.keys() | {name for name in needed if Path(name).name != name}):
        raise IntegrityError(
            f"{folder / MANIFEST_NAME} names a file without its digest, or outside the folder: {name!r}",
            blame="whoever changed or copied the folder",
            remedy="Copy the whole folder again, or build it again.",
        )
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or digest_file(path) != digest:
            raise IntegrityError(
                f"{path} is {'not what the manifest says' if path.exists() else 'missing'}",
                blame="whoever changed or copied the folder",
                remedy="Copy the whole folder again, or build it again.",
            )
    return manifest


def stored_artifact(folder: Path, manifest: Mapping[str, Any]) -> Artifact:
    """The artifact in `folder`, as its manifest has it; to be read in `reading_manifest`."""
    about = manifest["artifact"]
    files = [folder / name for name in about["files"]]
    built: Artifact = from_json(
        Artifact, {**about, "files": files, "backend": manifest["backend"]["name"], "plan": manifest["plan"]}
    )
    return built


def write_json(path: Path, content: Any) -> None:
    """Write `content` for people and programs: indented, ending in a newline."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _is_ours(item: Path) -> bool:
    return item.name.startswith(_PREFIX) or item.name == LOCK_NAME or _has_our_manifest(item)


def _has_our_manifest(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / MANIFEST_NAME).read_text())["tool"]["name"] == "edgekit")
    except (OSError, ValueError, KeyError, TypeError):
        return False
