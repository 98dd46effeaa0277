"""A recovery that is killed, wherever it is, goes on from its last checkpoint and ends with the same bytes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgekit.core.plain import from_json
from edgekit.core.process import repeatable_environment
from edgekit.passes.recover.settings import LearningCurve
from tests.passes.recover import recovery_process
from tests.passes.recover.conftest import Digits

pytestmark = pytest.mark.long

_KILLS, _INSIDE = 10, 2
_PIPE = 4096
_PATIENCE_MS = 300_000


class Undisturbed(NamedTuple):
    folder: Path
    digest: str
    curve: LearningCurve
    checkpoint_bytes: int


@pytest.fixture(scope="session")
def undisturbed(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("recovery")
    recovery_process.prepare(folder, digits.pruned, digits.dense, digits.train, digits.selection)
    workdir = folder / "undisturbed"
    workdir.mkdir()
    with _started(folder, workdir) as process:
        *_, end = _said(process)
    curve = from_json(LearningCurve, end["curve"])
    assert (curve.outcome, len(curve.epochs)) == ("recovered", recovery_process.EPOCHS)
    return Undisturbed(folder, end["digest"], curve, (workdir / "checkpoint").stat().st_size)


def test_killed_at_ten_moments_it_ends_with_the_same_bytes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    pace = float(np.median([epoch.seconds for epoch in undisturbed.curve.epochs]))
    inside = random.choice(_KILLS, _INSIDE, replace=False)
    behind = 0
    for kill, moment in enumerate(sorted(random.uniform(0, recovery_process.EPOCHS, _KILLS))):
        if kill in inside:
            written = int(random.integers(1, undisturbed.checkpoint_bytes - 4 * _PIPE))
            _kill_inside_a_checkpoint(written, undisturbed.folder, tmp_path)
        else:
            behind = _kill_after(int(moment), moment % 1 * pace, behind, undisturbed.folder, tmp_path)
    with _started(undisturbed.folder, tmp_path) as process:
        *events, end = _said(process)
    assert not any("learning rate" in event["event"] for event in events), "it went on, and did not begin anew"
    assert end["digest"] == undisturbed.digest
    assert _without_clock(from_json(LearningCurve, end["curve"])) == _without_clock(undisturbed.curve)
    assert not list(tmp_path.glob("*.part"))


def _kill_after(epochs: int, seconds: float, behind: int, folder: Path, workdir: Path) -> int:
    """Kill a recovery of which `behind` epochs are known to be over, so long after so many; gives how many are then."""
    with _started(folder, workdir) as process:
        said = _said(process)
        next(said)
        while behind < epochs:
            number = re.search(r"epoch (\d+) of", next(said)["event"])
            behind = int(number[1]) - 1 if number else behind
        time.sleep(seconds)
        _kill(process)
    return behind


def _kill_inside_a_checkpoint(written: int, folder: Path, workdir: Path) -> None:
    """Kill a recovery that has written so many bytes of a checkpoint, and leave the file that a disk would have then.

    It writes to a pipe that takes no more than that and a few pages, so it can't have come to the end.
    """
    half = workdir / "checkpoint.part"
    half.unlink(missing_ok=True)
    os.mkfifo(half)
    pipe = os.open(half, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    content = b""
    with _started(folder, workdir) as process:
        while len(content) < written:
            assert waiting.poll(_PATIENCE_MS), "no checkpoint was written"
            part = os.read(pipe, written - len(content))
            assert part, "the recovery ended by itself"
            content += part
        _kill(process)
    os.close(pipe)
    half.unlink()
    half.write_bytes(content)


def _started(folder: Path, workdir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(recovery_process.__file__), str(folder), str(workdir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=repeatable_environment(1))


def _said(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    return map(json.loads, process.stdout)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"


def _without_clock(curve: LearningCurve) -> LearningCurve:
    epochs = tuple(replace(epoch, seconds=0.0) for epoch in curve.epochs)
    return replace(curve, epochs=epochs, images_per_second=0.0)
