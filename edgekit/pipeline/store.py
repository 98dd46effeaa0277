"""The content-addressed store of stage results: what was done once with the same inputs is not done again.

An entry is a folder named by the digest of everything that went into it. It is made in a temporary sibling and renamed,
so a killed stage leaves nothing that looks like a result; it lists its files' digests, so a damaged one is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgekit.core import events
from edgekit.core.digest import digest_file, digest_json, own_sources
from edgekit.core.errors import UsageError
from edgekit.core.plain import to_json
from edgekit.core.stopping import check_stopped

__all__ = ["Entry", "Store", "default_store"]

_RECORD = "entry.json"
_KEPT_SECONDS = 30 * 24 * 3600  # that an unfinished stage may rest


@dataclass(frozen=True)
class Entry:
    """A stage's result: files in `folder`, a JSON `value`, and the `key` that names both."""

    folder: Path
    key: str
    value: Any

    def file(self, name: str) -> Path:
        """The path of one of the entry's files."""
        return self.folder / name

    @property
    def place(self) -> str:
        """Where it is in its store, for `Store.find`."""
        return f"{self.folder.parent.name}/{self.key}"

    def copy(self, folder: Path) -> Any:
        """Work for `Store.make` that makes the same once more, for other inputs."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_RECORD))
        return self.value


@dataclass(frozen=True)
class Store:
    """A folder of entries, shared by any number of builds at once."""

    root: Path

    def make(
        self, stage: str, title: str, inputs: Mapping[str, Any], work: Callable[[Path], Any], *, quiet: bool = False
    ) -> Entry:
        """The entry of `stage` for `inputs`: found, or made by `work(folder)`, which returns the JSON value.

        Args:
            stage: name of the stage, a folder of the store.
            title: the stage in the user's words, for the progress display.
            inputs: everything that decides the result, as JSON. Our own sources are added.
            work: makes the files in the empty folder that it is given.
            quiet: no progress events, for the small steps.
        """
        key = _key(stage, inputs)
        home = self.root / stage / key
        if not quiet:
            events.emit(events.Event("stage", title))
        entry = _read(home, key)
        cached = entry is not None
        if entry is None:
            entry = self._make(home, key, work)
        if not quiet:
            events.emit(events.Event("done", title, cached=cached))
        return entry

    def find(self, place: str) -> Entry | None:
        """The entry that `Entry.place` says; None where there is none, or a damaged one."""
        stage, _, key = place.partition("/")
        named = stage.replace("-", "").isalnum() and key.isalnum()
        return _read(self.root / stage / key, key) if named else None

    def make_resumable(
        self, stage: str, title: str, inputs: Mapping[str, Any], work: Callable[[Path, Path], Any]
    ) -> Entry:
        """As `make`, for long work, `work(folder, workdir)`: what it leaves in `workdir` a later try finds there.

        Two builds that want the same wait for each other.
        """
        key = _key(stage, inputs)

        def begin(folder: Path) -> Any:
            return work(folder, workdir)

        events.emit(events.Event("stage", title))
        home, workdir = self.root / stage / key, self.root / "unfinished" / key
        entry = _read(home, key)
        cached = entry is not None
        if entry is None:
            with self._held(workdir):
                entry = _read(home, key) or self._make(home, key, begin)
                shutil.rmtree(workdir, ignore_errors=True)
        events.emit(events.Event("done", title, cached=cached))
        return entry

    @contextlib.contextmanager
    def _held(self, workdir: Path) -> Iterator[None]:
        """Nobody else has `workdir`, which exists, in this block."""
        with _writable(self.root):
            workdir.mkdir(parents=True, exist_ok=True)
        with workdir.with_suffix(".lock").open("w") as lock:
            while _is_held(lock):
                check_stopped()
                events.progress("waiting for another build, which is at it", 0.0)
                time.sleep(0.5)
            workdir.mkdir(exist_ok=True)
            yield

    def _make(self, home: Path, key: str, work: Callable[[Path], Any]) -> Entry:
        with self._scratch() as folder:
            value = to_json(work(folder))
            files = {str(f.relative_to(folder)): digest_file(f) for f in sorted(folder.rglob("*")) if f.is_file()}
            (folder / _RECORD).write_text(json.dumps({"value": value, "files": files}, indent=1))
            home.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(home)
            except OSError:
                # Another build made it in the meantime, and may be reading it; only a damaged one gives way.
                made = _read(home, key)
                if made is not None:
                    return made
                shutil.rmtree(home, ignore_errors=True)
                folder.rename(home)
        return Entry(home, key, value)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        scratch = self.root / "tmp" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with _writable(self.root):
            scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed builds left half-made."""
        for leftover in (self.root / "tmp").glob("*-*"):
            pid = leftover.name.partition("-")[0]
            if not Path("/proc", pid).exists():
                shutil.rmtree(leftover, ignore_errors=True)
        for workdir in (self.root / "unfinished").glob("*/"):
            if time.time() - workdir.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(workdir, ignore_errors=True)


@contextlib.contextmanager
def _writable(root: Path) -> Iterator[None]:
    """What fails in this block fails because of where the store is."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the store {root} can't be written: {error.strerror}",
            blame="this machine",
            remedy="Name a folder that can be: EDGEKIT_CACHE=/some/folder edgekit …",
        ) from error


def _is_held(lock: IO[str]) -> bool:
    """Whether someone else still has this lock; else we do, from now on."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _key(stage: str, inputs: Mapping[str, Any]) -> str:
    return digest_json({"stage": stage, "edgekit": own_sources(), "inputs": to_json(inputs)})


def default_store() -> Store:
    """The user's store: `$EDGEKIT_CACHE`, else `edgekit` in the user's cache folder."""
    named = os.environ.get("EDGEKIT_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Store(Path(named) if named else Path(cache, "edgekit"))


def _read(home: Path, key: str) -> Entry | None:
    """The entry in `home`, or None where there is none or a file of it is damaged."""
    try:
        record = json.loads((home / _RECORD).read_text())
        value = record["value"]
        intact = all(digest_file(home / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Entry(home, key, value) if intact else None
