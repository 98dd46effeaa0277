"""A build that is killed in any stage goes on where it stopped and ends with the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import start

_BUILD = ("build", "digits-cnn", "--target", "raspberry-pi-5", "--target", "intel-cpu", "--out")
# Well inside a stage: the shortest takes about this long.
_INTO_THE_STAGE = 0.25


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str]]:
    """The stages of a build that nobody disturbs, and the digests of what it made."""
    home = tmp_path_factory.mktemp("undisturbed")
    process = start(*_BUILD, home / "out", store=home / "store")
    _, err = process.communicate()
    assert process.returncode == 0, err
    return re.findall(r"✓ (.*) [\d.]+ s$", err, re.MULTILINE), _digests(home / "out")


def test_killed_in_each_stage_it_ends_with_the_same_bytes(undisturbed, tmp_path):
    stages, expected = undisturbed
    assert len(stages) >= 10
    out, store = tmp_path / "out", tmp_path / "store"
    for number in range(len(stages)):
        _kill_in_stage(number, out, store)
    process = start(*_BUILD, out, store=store)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert _digests(out) == expected
    assert not list(out.glob(".edgekit-*")), "nothing half-made stays in the output folder"
    assert not list((store / "tmp").iterdir()), "nothing half-made stays in the store"


def _kill_in_stage(number: int, out: Path, store: Path) -> None:
    """Kill a build, with all it started, once `number` stages are behind it."""
    process = start(*_BUILD, out, store=store, start_new_session=True)
    assert process.stderr is not None
    done = 0
    while done < number:
        line = process.stderr.readline()
        assert line, f"the build ended before stage {number}"
        done += line.startswith("✓")
    time.sleep(_INTO_THE_STAGE)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL or os.WIFEXITED(process.returncode)


def _digests(folder: Path) -> dict[str, str]:
    """Of everything that a repeated build must repeat: all but what a clock said."""
    clocked = {"report.json", "edgekit.lock"}
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in clocked
    }
