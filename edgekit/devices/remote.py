"""A board behind a transport as a device: files go there by digest, the script runs there, its answers come back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgekit.core import events
from edgekit.core.digest import digest_file, digest_files
from edgekit.core.errors import DeviceError, EdgekitError, MissingToolError
from edgekit.core.process import Limits, explain_death
from edgekit.core.stopping import check_stopped
from edgekit.devices.answer import parse_digests, parse_error
from edgekit.devices.base import BenchRequest, relay, script_arguments
from edgekit.devices.folder import BoardFolder, LostError, altered
from edgekit.devices.transport import Transport
from edgekit.devices.wheels import advise_runtime

__all__ = ["RemoteDevice"]

T = TypeVar("T")

_PAUSES = (1.0, 4.0)  # seconds before the second and the third try
_DAY_SECONDS = 86400
_PROBE_SECONDS = 300.0  # importing every runtime there is takes a small board minutes
_WEIGHTS = {".xml": ".bin", ".param": ".bin"}  # where a runtime looks for them: beside the file
_OUTPUTS, _GOLDEN = "outputs.npz", "golden"


class RemoteDevice:
    """A board, reached when it is first used and held until it is closed: one run at a time has it."""

    def __init__(self, transport: Transport) -> None:
        self.uri = transport.uri
        self._transport = transport
        self._folder: BoardFolder | None = None

    def bench(self, request: BenchRequest, *, blame: str, limits: Limits) -> Any:
        """As `Device.bench`.

        Raises:
            DeviceError: there is no way to it, or the connection broke off and two more tries did not help.
            MissingToolError: it lacks Python or the runtime, or this machine the client.
            IntegrityError: a file arrives altered, there or here.
            InvalidInputError: the run takes too long, or kills the runtime.
        """
        return self._try_thrice(lambda folder: self._bench(folder, request, blame, limits))

    def probe(self) -> Any:
        """As `Device.probe`."""
        return self._try_thrice(self._probe)

    def close(self) -> None:
        """As `Device.close`."""
        folder, self._folder = self._folder, None
        if folder:
            folder.end()
        self._transport.close()

    def _try_thrice(self, work: Callable[[BoardFolder], T]) -> T:
        lost = False
        for pause in (*_PAUSES, None):
            try:
                return work(self._open())
            except LostError as failure:
                lost, error = True, failure.error
            except DeviceError as failure:
                # After a loss the way may be closed for a while: the board starts again, or its network does.
                if not lost:
                    raise
                error = failure
            self._abandon()
            if pause is None:
                raise error
            events.warn(f"{error.cause}; trying again in {pause:.0f} s")
            _sleep(pause)
        raise AssertionError  # the last round returns or raises

    def _open(self) -> BoardFolder:
        if self._folder and not self._folder.stands:
            self._abandon()
        if self._folder is None:
            self._folder = BoardFolder(self._transport)
            away = self._folder.kept.device.clock - time.time()
            if abs(away) > _DAY_SECONDS:
                told = f"{abs(away) / _DAY_SECONDS:.0f} days {'fast' if away > 0 else 'slow'}"
                events.warn(f"the clock of {self._transport.board} is {told}; nothing here depends on it")
        return self._folder

    def _abandon(self) -> None:
        folder, self._folder = self._folder, None
        if folder:
            folder.end(seconds=0)

    def _probe(self, folder: BoardFolder) -> Any:
        limits = Limits(seconds=_PROBE_SECONDS)
        answer = self._run(folder, ["--probe", "--json"], what="probing", blame="edgekit", limits=limits)
        return _renamed(answer, {folder.path: folder.path.rpartition("/")[0]})

    def _bench(self, folder: BoardFolder, request: BenchRequest, blame: str, limits: Limits) -> Any:
        files, names = _files(request)
        folder.push(files)
        places = {path: f"{folder.path}/{name}" for path, name in names.items()}
        answer = self._run(
            folder,
            script_arguments(request, places.__getitem__),
            what=f"running {request.artifact.name}",
            blame=blame,
            limits=limits,
            request=request,
        )
        if "error" not in answer:
            self._fetch(folder, request, answer)
        return _renamed(answer, {there: str(here) for here, there in places.items()})

    def _run(
        self,
        folder: BoardFolder,
        arguments: list[str],
        *,
        what: str,
        blame: str,
        limits: Limits,
        request: BenchRequest | None = None,
    ) -> dict[str, Any]:
        seconds = Limits(seconds=limits.seconds)  # the memory is the board's own
        threads = request.threads if request else 1
        answer, finished = folder.run(arguments, threads=threads, limits=seconds, on_error_line=relay)
        if answer is None:
            if finished.killed_for:
                self.close()  # what runs there ends with its folder
            if 128 < finished.returncode < 160:  # a shell's way to tell of a signal
                finished = dataclasses.replace(finished, returncode=128 - finished.returncode)
            raise explain_death(finished, what=f"{what} on {self._transport.board}", limits=seconds, blame=blame)
        error = parse_error(answer, "your artifact")
        return {"error": self._as_boards(error, folder, request).to_dict()} if error else answer

    def _as_boards(self, error: EdgekitError, folder: BoardFolder, request: BenchRequest | None) -> EdgekitError:
        """The script's error, told by somebody who stands elsewhere."""
        board, device = self._transport.board, folder.kept.device
        if error.blame not in {"this device", "this machine"}:
            return error
        if isinstance(error, MissingToolError) and request:
            advice = advise_runtime(request.runtime, request.artifact, device.python, device.machine)
            remedy = self._transport.install(advice.packages) if advice.packages else advice.why_none
            return MissingToolError(f"{board}: {error.cause}", blame=board, remedy=remedy)
        return DeviceError(f"{board}: {error.cause}", blame=board, remedy=error.remedy)

    def _fetch(self, folder: BoardFolder, request: BenchRequest, answer: dict[str, Any]) -> None:
        outputs, golden = parse_digests(answer)
        wanted: list[tuple[str, Path, str]] = []
        if request.outputs and outputs:
            wanted.append((_OUTPUTS, request.outputs, outputs))
        if request.golden_outputs:
            names = [f"{index}.npz" for index in range(len(golden))]
            wanted += [
                (f"{_GOLDEN}/{name}", request.golden_outputs / name, digest)
                for name, digest in zip(names, golden, strict=True)
            ]
        for name, local, digest in wanted:
            local.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(2):
                folder.pull(name, local)
                if _digest_arrays(local) == digest:
                    break
            else:
                local.unlink()
                raise altered(f"{local.name} arrives from {self._transport.board}", digest, self._transport)


def _files(request: BenchRequest) -> tuple[dict[str, tuple[Path, str]], dict[Path, str]]:
    """What a request needs there: name there → (file here, SHA-256); and each path of the request → its name there."""
    files: dict[str, tuple[Path, str]] = {}
    names: dict[Path, str] = {}
    for artifact in (request.artifact, *(path for path, _ in request.against)):
        weights = artifact.with_suffix(_WEIGHTS.get(artifact.suffix, artifact.suffix))
        parts = [artifact, weights] if weights != artifact and weights.exists() else [artifact]
        stem = digest_files(parts)
        files |= {stem + part.suffix: (part, digest_file(part)) for part in parts}
        names[artifact] = stem + artifact.suffix
    for samples in (request.inputs, request.golden):
        if samples:
            digest = digest_file(samples)
            files[digest + samples.suffix] = (samples, digest)
            names[samples] = digest + samples.suffix
    if request.outputs:
        names[request.outputs] = _OUTPUTS
    if request.golden_outputs:
        names[request.golden_outputs] = _GOLDEN
    return files, names


def _digest_arrays(path: Path) -> str | None:
    """SHA-256 over the values of an .npz, in order, as the script gives it; None if it is not a whole one."""
    import numpy as np

    digest = hashlib.sha256()
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for name in archive.files:
                digest.update(np.ascontiguousarray(archive[name]).tobytes())
        return digest.hexdigest()
    return None


def _renamed(document: Any, names: Mapping[str, str]) -> Any:
    """A document in which the paths of the board's folder, which are other ones at each run, are ours again."""
    if isinstance(document, dict):
        return {key: _renamed(value, names) for key, value in document.items()}
    if isinstance(document, list):
        return [_renamed(value, names) for value in document]
    if isinstance(document, str):
        for there, here in names.items():
            document = document.replace(there, here)
    return document


def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        check_stopped()
        time.sleep(0.1)
